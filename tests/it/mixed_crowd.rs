//! Every dialect and unit at once, the two WebSocket APIs among them: sixteen calls at a time, some of which are left, until
//! several pools are used up. Then the ledger stands beside the simulator's own.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use gratis::catalogue::ModelType;
use gratis::ledger::Unit;
use http::Method;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::mixed::{Call, apps, calls, get, make, models, tasks, world};
use crate::support::wire::{get_json, raw};
use crate::support::world::{KEY, World, model, unit_model};
use crate::websocket::client::{Client, finish, go_on, respond, run_asr, run_tts};
use crate::websocket::{ASR, OMNI, TTS};

/// How many calls are made at a time.
const AT_ONCE: usize = 16;
/// How often everything is asked.
const ROUNDS: usize = 16;
/// What is granted of each pool: most are meant to run dry.
const GRANTS: [(&str, u64); 11] = [
    ("plain", 20_000),
    ("thinker", 400_000),
    ("embed", 2_000_000),
    ("draw", 60),
    ("film", 40),
    ("speak", 300),
    ("asr", 400),
    ("voice", 6),
    (TTS, 300),
    (ASR, 60),
    (OMNI, 1_000_000),
];

/// A call, or several on one connection.
enum Job {
    Http(Call),
    Task(Call),
    Socket(&'static str, Vec<Said>),
}

/// What a client of a WebSocket does, step by step.
#[derive(Clone)]
enum Said {
    Text(Value),
    Audio(usize),
    /// It waits for this event.
    Until(&'static str),
}

use Said::{Audio, Text, Until};

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Ended {
    Completed,
    /// Its client left.
    Left,
    /// The quota does not cover it.
    Refused,
    /// Only calls in progress are in the way.
    Busy,
}

fn jobs() -> Vec<Job> {
    let spoken = vec![
        Text(run_tts("")),
        Until("task-started"),
        Text(go_on("hello there")),
        Until("result-generated"),
        Text(go_on(" 你好，世界")),
        Until("result-generated"),
        Text(finish()),
        Until("task-finished"),
    ];
    let heard = vec![
        Text(run_asr("pcm")),
        Until("task-started"),
        Audio(40_000),
        Until("result-generated"),
        Audio(64_000),
        Until("result-generated"),
        Text(finish()),
        Until("task-finished"),
    ];
    let item = json!({"type": "conversation.item.create", "item": {"content": [{"text": "hi"}]}});
    let mut turns = vec![Until("session.created"), Text(item)];
    for _ in 0..2 {
        turns.extend([Text(respond()), Until("response.created"), Until("response.done")]);
    }
    let mut jobs: Vec<Job> = calls("Hi, wie geht's? 你好").into_iter().chain(apps("Hi")).map(Job::Http).collect();
    jobs.extend(tasks("a cat").into_iter().map(Job::Task));
    for _ in 0..2 {
        jobs.push(Job::Socket("/api-ws/v1/inference", spoken.clone()));
        jobs.push(Job::Socket("/api-ws/v1/inference", heard.clone()));
        jobs.push(Job::Socket("/api-ws/v1/realtime?model=qwen3-omni-flash-realtime", turns.clone()));
    }
    jobs
}

fn of_code(code: &str) -> Ended {
    match code {
        "AllocationQuota.FreeTierOnly" => Ended::Refused,
        "Throttling.RateQuota" | "limit_requests" | "rate_limit_error" => Ended::Busy,
        other => panic!("{other}"),
    }
}

fn of_status(call: &Call, status: u16, body: &[u8]) -> Ended {
    match status {
        200 => Ended::Completed,
        403 => Ended::Refused,
        429 => Ended::Busy,
        other => panic!("{} {}: {other} {}", call.path, call.body, String::from_utf8_lossy(body)),
    }
}

/// Makes a call and reads at most so many bytes of its answer.
async fn leave(world: &World, call: &Call, most: usize) -> Ended {
    let body = call.body.to_string();
    let headers: String = call.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: gratis\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n",
        call.path,
        body.len()
    );
    raw(&world.origin, format!("{head}{body}").as_bytes(), most).await;
    Ended::Left
}

/// Makes a call that goes on as a task, and asks for it until it has ended.
async fn poll(world: &World, call: &Call) -> Ended {
    let (status, body) = make(world, call).await;
    let body = body.unwrap_or_default();
    let ended = of_status(call, status, &body);
    if ended == Ended::Completed {
        let made: Value = serde_json::from_slice(&body).unwrap();
        let path = format!("/api/v1/tasks/{}", made["output"]["task_id"].as_str().unwrap());
        while get(world, KEY, Method::GET, &path).await.1["output"]["task_status"] != "SUCCEEDED" {}
    }
    ended
}

/// Speaks on a connection; `steps` may be fewer than it takes to come to an end.
async fn speak(world: &World, path: &str, steps: &[Said], whole: bool) -> Ended {
    let mut client = match Client::with_key(&world.origin, path, KEY).await {
        Ok(client) => client,
        Err(Error::Http(refused)) if refused.status() == 403 => return Ended::Refused,
        Err(Error::Http(refused)) if refused.status() == 429 => return Ended::Busy,
        Err(other) => panic!("{path}: {other}"),
    };
    for step in steps {
        // Where it cannot be sent, why stands in what is read next.
        let heard = match step {
            Text(value) => {
                client.try_say(value).await;
                None
            }
            Audio(bytes) => {
                client.try_send(vec![1; *bytes]).await;
                None
            }
            Until(name) => Some(until(&mut client, name).await),
        };
        if let Some(Err(ended)) = heard {
            return ended;
        }
    }
    if whole {
        client.close().await;
        return Ended::Completed;
    }
    client.vanish();
    Ended::Left
}

/// Reads to the event of this name, or to the error that comes instead.
async fn until(client: &mut Client, name: &str) -> Result<(), Ended> {
    loop {
        let value: Value = match client.message().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => continue,
            other => panic!("{other:?} came before {name}"),
        };
        let event = value["header"]["event"].as_str().or(value["type"].as_str()).unwrap_or_default();
        match event {
            _ if event == name => return Ok(()),
            "task-failed" => return Err(of_code(value["header"]["error_code"].as_str().unwrap())),
            "error" => return Err(of_code(value["error"]["code"].as_str().unwrap())),
            _ => {}
        }
    }
}

/// Does a job; every fifth client leaves before it is done.
async fn work(world: &World, job: Job, seed: u64) -> Ended {
    let mut rng = StdRng::seed_from_u64(seed);
    let leaves = rng.random_bool(0.2);
    match job {
        Job::Http(call) if leaves => leave(world, &call, rng.random_range(0..1_500)).await,
        Job::Http(call) => {
            let (status, body) = make(world, &call).await;
            of_status(&call, status, &body.unwrap_or_default())
        }
        // Nobody asks for it any more: Gratis does.
        Job::Task(call) if leaves => leave(world, &call, rng.random_range(0..200)).await,
        Job::Task(call) => poll(world, &call).await,
        Job::Socket(path, steps) => {
            let most = if leaves { rng.random_range(0..steps.len()) } else { steps.len() };
            speak(world, path, &steps[..most], !leaves).await
        }
    }
}

/// Shows both ledgers and answers how many pools are used up.
async fn compare(world: &World, units: &BTreeMap<String, Unit>) -> usize {
    let ledger = get_json(&format!("{}/ledger", world.simulator.origin())).await;
    println!(
        "{:<26}{:<11}{:>9}{:>7}{:>9}{:>9}{:>9}{:>9}{:>10}{:>6}",
        "pool", "unit", "granted", "calls", "charged", "spent", "presumed", "left", "overspent", "drift"
    );
    let (mut dry, mut wrong) = (0, Vec::new());
    for (pool, granted) in GRANTS {
        let balance = world.balance(pool).await;
        let line = &ledger["models"][pool];
        let (calls, charged) = (line["calls"].as_u64().unwrap_or(0), line["charged"].as_u64().unwrap_or(0));
        let counted = balance.spent + balance.presumed;
        let overspent = charged.saturating_sub(granted);
        let drift = charged.saturating_sub(counted) + balance.spent.saturating_sub(charged);
        let left = granted.saturating_sub(counted);
        println!(
            "{pool:<26}{:<11}{granted:>9}{calls:>7}{charged:>9}{:>9}{:>9}{left:>9}{overspent:>10}{drift:>6}",
            format!("{:?}", units[pool]).to_lowercase(),
            balance.spent,
            balance.presumed,
        );
        dry += usize::from(left * 20 < granted);
        if calls == 0 || (overspent, drift, balance.held) != (0, 0, 0) || counted > granted {
            wrong.push((pool, charged, balance));
        }
    }
    assert!(wrong.is_empty(), "the ledgers differ: {wrong:?}");
    dry
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ledgers_agree_after_many_calls_at_once_in_every_dialect_and_unit() {
    for worst in [false, true] {
        let mut all = models();
        all.push(unit_model(TTS, ModelType::Tts, Unit::Characters, Some(200_000)));
        all.push(unit_model(ASR, ModelType::Asr, Unit::Seconds, None));
        all.push(model(OMNI, 32_768, 4_096));
        let units = all.iter().map(|model| (model.code.to_string(), model.unit)).collect();
        let world = world(worst, |plan| {
            plan.models = all;
            plan.grants = GRANTS.iter().map(|(pool, amount)| ((*pool).to_owned(), *amount)).collect();
            plan.simulator.chunk_delay = std::time::Duration::from_millis(1);
            plan.quota.busy_wait = std::time::Duration::from_millis(100);
            plan.quota.task_poll = std::time::Duration::from_millis(20);
        })
        .await;
        let mut jobs: Vec<Job> = (0..ROUNDS).flat_map(|_| jobs()).collect();
        jobs.shuffle(&mut StdRng::seed_from_u64(16));
        let made = jobs.len();
        let working = futures_util::stream::iter(jobs.into_iter().zip(1..)).map(|(job, seed)| work(&world, job, seed));
        let ended: Vec<Ended> = working.buffer_unordered(AT_ONCE).collect().await;
        world.quiet_tasks().await;
        world.quiet().await;
        let mut counts = BTreeMap::<Ended, usize>::new();
        ended.into_iter().for_each(|ended| *counts.entry(ended).or_default() += 1);
        println!("\n{made} jobs, {AT_ONCE} at a time, worst case {worst}: {counts:?}");
        let dry = compare(&world, &units).await;
        assert!(dry >= 4, "only {dry} pools are used up");
        assert!([Ended::Completed, Ended::Left, Ended::Refused].iter().all(|ended| counts.contains_key(ended)));
        assert_eq!((world.metrics.over_hold.get(), world.metrics.overspent.get()), (0, 0));
    }
}
