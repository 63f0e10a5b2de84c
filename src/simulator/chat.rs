//! One call: read, decide, charge, answer.

use std::future::pending;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Response};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::behaviour::{Behaviour, Reply};
use super::chunks;
use super::delivery::{Script, Step};
use super::errors::Envelope;
use super::ledger::Charge;
use super::modes::Mode;
use super::plan::Plan;
use super::render::{self, Head};
use super::request::Asked;
use super::route::{self, Answer};
use super::serve::Fate;
use super::state::State;
use super::tasks::Task;
use super::ways::Way;
use super::{SimUnit, reading, shapes, transport};

/// The decision about one call, taken and charged under one lock.
enum Decided {
    Refused(Envelope),
    Behaves(Behaviour),
    Produces(Box<(Asked, Behaviour, Plan)>),
}

/// Answers a call whose body has arrived in full.
pub(super) async fn answer(
    state: &State,
    fate: &Fate,
    way: Way,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Answer, io::Error> {
    let arrived = now();
    let (decided, model, events, mut rng) = decide_and_charge(state, way, headers, body);
    // A timer of zero would still wait for the next tick, a millisecond.
    if !state.settings.first_delay.is_zero() {
        tokio::time::sleep(state.settings.first_delay).await;
    }
    let head = Head {
        id: format!("chatcmpl-{}", render::uuid(&mut rng)),
        request_id: render::uuid(&mut rng),
        unit: state.model(&model).map_or(SimUnit::Tokens, |(model, _)| model.unit),
        model,
        created: arrived.as_secs(),
        way,
        events,
    };
    match decided {
        Decided::Refused(envelope) => Ok(route::envelope(&envelope, &head, fate)),
        Decided::Behaves(behaviour) => refusal(&behaviour, &head, fate),
        Decided::Produces(call) => {
            let (asked, behaviour, plan) = *call;
            match behaviour.mode {
                Mode::NeverAnswer => pending().await,
                Mode::ResetBeforeHead => {
                    fate.reset();
                    Err(io::Error::other("reset by arrangement"))
                }
                _ => Ok(produce(state, fate, headers, (&asked, &behaviour, &plan), &head, &mut rng)),
            }
        }
    }
}

/// Reads the call, decides about it and writes down what it costs, before anybody can see a byte of the reply.
fn decide_and_charge(state: &State, way: Way, headers: &HeaderMap, body: &Bytes) -> (Decided, String, bool, StdRng) {
    let asked = if way == Way::Chat { Asked::read(body) } else { reading::read(way, headers, body) };
    let events = asked.as_ref().is_ok_and(|asked| asked.stream);
    let model = asked.as_ref().map_or_else(|_| String::new(), |asked| asked.model.clone());
    let mut shared = state.shared();
    shared.calls = shared.calls.saturating_add(1);
    let mut rng = StdRng::seed_from_u64(state.settings.seed.rotate_left(32) ^ shared.calls);
    let decided = if shared.rules.echoes(&model) {
        Decided::Behaves(shared.rules.decide(&model, &mut rng))
    } else {
        decide(state, &mut shared, asked, allowed(state, headers), &mut rng)
    };
    write_down(&mut shared.ledger, &decided, &model);
    drop(shared);
    (decided, model, events, rng)
}

pub(super) fn allowed(state: &State, headers: &HeaderMap) -> bool {
    state.settings.key.as_ref().is_none_or(|key| {
        let given = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
        given.split_once(' ').is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case("bearer") && given == key)
    })
}

fn decide(
    state: &State,
    shared: &mut super::state::Shared,
    asked: Result<Asked, Envelope>,
    allowed: bool,
    rng: &mut StdRng,
) -> Decided {
    if !allowed {
        return Decided::Refused(Envelope::invalid_key());
    }
    let asked = match asked {
        Ok(asked) => asked,
        Err(envelope) => return Decided::Refused(envelope),
    };
    let Some((model, strict)) = state.model(&asked.model) else {
        return Decided::Refused(Envelope::unknown_model(&asked.model));
    };
    let ruled = shared.rules.decide(&asked.model, rng);
    let behaviour = match asked.directives.mode {
        Some(mode) if mode != Mode::Echo => {
            Behaviour { split_every: asked.directives.split_every, ..Behaviour::of(mode) }
        }
        _ => ruled,
    };
    if behaviour.mode.is_refusal() {
        return Decided::Behaves(Behaviour { stream: asked.stream, ..behaviour });
    }
    match Plan::decide(&state.settings, (&model, strict), &asked, &behaviour, rng) {
        Ok(plan) => Decided::Produces(Box::new((asked, behaviour, plan))),
        Err(envelope) => Decided::Refused(envelope),
    }
}

/// The one place where a call is charged.
fn write_down(ledger: &mut super::ledger::Ledger, decided: &Decided, model: &str) {
    let fixed = |tokens: u64| Charge { prompt: tokens, ..Charge::default() };
    match decided {
        Decided::Refused(envelope) => ledger.refuse(envelope.code),
        Decided::Behaves(behaviour) => match behaviour.charge {
            Some(tokens) => ledger.charge(model, behaviour.mode.name(), fixed(tokens)),
            None => ledger.refuse(behaviour.mode.name()),
        },
        // A task is charged when it succeeds.
        Decided::Produces(call) if call.0.task => (),
        Decided::Produces(call) => {
            let (_, behaviour, plan) = &**call;
            let charge = behaviour.charge.map_or_else(|| plan.charge(), fixed);
            ledger.charge(model, behaviour.mode.name(), charge);
        }
    }
}

/// A reply to a call that produces nothing.
fn refusal(behaviour: &Behaviour, head: &Head, fate: &Fate) -> Result<Answer, io::Error> {
    match (behaviour.mode, &behaviour.reply) {
        (Mode::Echo, Some(reply)) => echo(reply, behaviour.split_every, fate),
        (Mode::Redirect, _) => {
            let response = Response::builder().status(307).header("location", "http://127.0.0.1:9/elsewhere");
            response.body(Script::whole(Bytes::new(), fate)).map_err(io::Error::other)
        }
        (mode, _) => {
            let envelope = Envelope::of(mode, &head.model).unwrap_or_else(|| Envelope::unreadable("no such refusal"));
            if mode == Mode::ErrorOnlyEvent && behaviour.stream {
                let event = chunks::frame(&chunks::error(&envelope, head), mode);
                return Ok(route::stream([Step::Send(event), Step::Flush], fate));
            }
            Ok(route::envelope(&envelope, head, fate))
        }
    }
}

/// The fixed reply of a rule.
pub(super) fn echo(reply: &Reply, split_every: Option<usize>, fate: &Fate) -> Result<Answer, io::Error> {
    let mut response = Response::builder().status(reply.status.unwrap_or(200));
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let body = reply.bytes().map_err(io::Error::other)?;
    let mut steps = vec![Step::Send(body)];
    if let Some(size) = reply.split_every.or(split_every) {
        steps = super::delivery::split(steps, size, Duration::ZERO);
    }
    match reply.end.as_deref() {
        Some("reset") => steps.extend([Step::Flush, Step::Break { reset: true }]),
        Some("close") => steps.extend([Step::Flush, Step::Break { reset: false }]),
        Some("hang") => steps.extend([Step::Flush, Step::Hang]),
        _ => (),
    }
    response.body(Script::new(steps, fate)).map_err(io::Error::other)
}

fn produce(
    state: &State,
    fate: &Fate,
    headers: &HeaderMap,
    (asked, behaviour, plan): (&Asked, &Behaviour, &Plan),
    head: &Head,
    rng: &mut StdRng,
) -> Answer {
    let settings = &state.settings;
    let mut texts = |tokens: u64| -> Vec<Vec<String>> {
        let sent = tokens.min(settings.sent_max);
        (0..plan.choices).map(|_| render::pieces(sent, settings.chunk_tokens, rng)).collect()
    };
    let (answers, thoughts) = (texts(plan.answer), texts(plan.thinking));
    if head.way != Way::Chat {
        let pieces = answers.first().map(Vec::as_slice).unwrap_or_default();
        if asked.stream && behaviour.mode != Mode::ErrorHtml {
            let events = shapes::events(head, plan, pieces, behaviour.mode);
            return transport::stream(&events, behaviour, settings.chunk_delay, head, fate);
        }
        if asked.task {
            return begin_task(state, fate, plan, behaviour, head);
        }
        let whole: Vec<String> = answers.iter().map(|pieces| pieces.concat()).collect();
        let body = shapes::reply(head, plan, &whole, behaviour.mode);
        return transport::plain(body, behaviour, accepts_gzip(headers), fate);
    }
    if asked.stream && behaviour.mode != Mode::ErrorHtml {
        let events = chunks::events(head, plan, (&answers, &thoughts), asked.include_usage, behaviour.mode);
        return transport::stream(&events, behaviour, settings.chunk_delay, head, fate);
    }
    let join = |texts: Vec<Vec<String>>| -> Vec<String> { texts.into_iter().map(|pieces| pieces.concat()).collect() };
    let body = render::completion(head, plan, &join(answers), &join(thoughts), behaviour.mode);
    transport::plain(body, behaviour, accepts_gzip(headers), fate)
}

/// The call goes on as a task, which is charged when it succeeds.
fn begin_task(state: &State, fate: &Fate, plan: &Plan, behaviour: &Behaviour, head: &Head) -> Answer {
    let task = Task {
        model: head.model.clone(),
        units: plan.charge().total(),
        usage: shapes::usage(head, plan, behaviour.mode).unwrap_or_default(),
        fails: behaviour.mode == Mode::ErrorMidStream,
        polls: 0,
        status: "PENDING",
    };
    let id = state.shared().things.begin(task);
    let body = serde_json::json!({"output": {"task_status": "PENDING", "task_id": id}, "request_id": head.request_id});
    route::json_answer(http::StatusCode::OK, &body, fate)
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(http::header::ACCEPT_ENCODING);
    values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        name.trim().eq_ignore_ascii_case("gzip") && !matches!(weight.trim(), "q=0" | "q=0.0")
    })
}

/// The time of day. It only dates replies: no decision depends on it.
#[allow(clippy::disallowed_methods, reason = "this room names no other, also not the clock")]
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}
