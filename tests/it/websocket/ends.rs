//! How connections end: whoever leaves, wherever, what was charged is covered.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, finish, go_on, respond, run_asr, run_tts};
use super::script::{self, frame};
use super::{ASR, OMNI, TTS, plan};
use crate::support::PATIENCE;
use crate::support::world::World;

/// What happens on a connection, step by step.
#[derive(Clone)]
enum Step {
    Say(Value),
    Send(usize),
    Until(&'static str),
}

use Step::{Say, Send, Until};

fn spoken() -> Vec<Step> {
    let mut steps = vec![Say(run_tts("hi")), Until("task-started")];
    for text in ["hello there", " 你好", &"x".repeat(700)] {
        steps.extend([Say(go_on(text)), Until("result-generated")]);
    }
    steps.extend([Say(finish()), Until("task-finished"), Say(run_tts("again")), Say(finish()), Until("task-finished")]);
    steps
}

fn heard() -> Vec<Step> {
    let mut steps = vec![Say(run_asr("pcm")), Until("task-started")];
    steps.extend([Send(40_000), Until("result-generated"), Send(8), Send(64_000), Until("result-generated")]);
    steps.extend([Say(finish()), Until("task-finished")]);
    steps
}

fn in_turns() -> Vec<Step> {
    let item = json!({"type": "conversation.item.create", "item": {"content": [{"text": "hi"}]}});
    let mut steps = Vec::new();
    for _ in 0..2 {
        steps.extend([Say(item.clone()), Until("conversation.item.created"), Say(respond())]);
        steps.extend([Until("response.created"), Until("response.audio_transcript.delta"), Until("response.done")]);
    }
    steps
}

async fn walk(client: &mut Client, steps: &[Step]) {
    for step in steps {
        match step {
            Say(value) => client.say(value).await,
            Send(bytes) => client.send(vec![1; *bytes]).await,
            Until(name) => drop(client.until(name).await),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_after_any_step_is_charged_what_the_upstream_charged() {
    let scripts = [(TTS, false, spoken()), (ASR, false, heard()), (OMNI, true, in_turns())];
    let mut exact = 0;
    let mut all = 0;
    for (model, realtime, steps) in scripts {
        let mut settings = plan();
        settings.simulator.chunk_delay = Duration::from_millis(2);
        settings.quota.drain_time = Duration::from_secs(5);
        settings.grants.iter_mut().for_each(|grant| grant.1 = 10_000_000);
        let world = World::new(settings).await;
        for politely in [true, false] {
            for left in 0..=steps.len() {
                let before = (world.balance(model).await, world.charged(model).await);
                let mut client = if realtime {
                    Client::realtime(&world.origin).await
                } else {
                    Client::inference(&world.origin).await
                };
                walk(&mut client, &steps[..left]).await;
                if politely {
                    client.close().await;
                }
                client.vanish();
                world.quiet_tasks().await;
                let balance = world.settled(model).await;
                let spent = balance.spent - before.0.spent;
                let presumed = balance.presumed - before.0.presumed;
                let charged = world.charged(model).await - before.1;
                assert!(spent + presumed >= charged, "{model}, step {left}: {charged} of {spent} + {presumed}");
                assert_eq!(balance.held, 0);
                all += 1;
                if presumed == 0 {
                    assert_eq!(spent, charged, "{model}, step {left}, politely {politely}");
                    exact += 1;
                }
            }
        }
    }
    println!("left after {all} steps: {exact} settled exactly, {} presumed", all - exact);
    assert!(exact * 10 >= all * 9, "{exact} of {all} were settled exactly");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_misbehaviour_of_the_upstream_is_covered() {
    let modes = [
        ("none", false),
        ("free-tier-only", false),
        ("internal-error", false),
        ("no-usage", true),
        ("negative-usage", true),
        ("string-usage", true),
        ("cut", true),
        ("truncate", true),
        ("reset-mid-stream", true),
        ("reset-before-head", true),
    ];
    for (mode, presumes) in modes {
        for (model, realtime) in [(TTS, false), (OMNI, true)] {
            let world = World::new(plan()).await;
            world.behave(json!({"mode": mode})).await;
            let mut client =
                if realtime { Client::realtime(&world.origin).await } else { Client::inference(&world.origin).await };
            let calls = if realtime { vec![respond()] } else { vec![run_tts(""), go_on("hello"), finish()] };
            for call in calls {
                client.try_say(&call).await;
            }
            while let Some(Ok(message)) = client.message().await {
                let text = message.to_text().unwrap_or_default();
                if text.contains("task-finished") || text.contains("response.done") {
                    break;
                }
            }
            client.vanish();
            world.quiet_tasks().await;
            let (balance, charged) = (world.settled(model).await, world.charged(model).await);
            let name = format!("{mode}, {model}: charged {charged}, {balance:?}");
            assert!(charged <= balance.spent + balance.presumed, "{name}");
            assert_eq!(balance.presumed > 0, presumes, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_past_the_drain_s_cap_is_presumed_and_so_is_what_takes_longer_than_a_call_may() {
    for (drain, call) in [(100, 3_600_000), (3_600_000, 200)] {
        let mut settings = plan();
        settings.quota.drain_time = Duration::from_millis(drain);
        settings.quota.max_call_stream = Duration::from_millis(call);
        let world = World::new(settings).await;
        world.behave(json!({"mode": "hang-mid-stream"})).await;
        let mut client = Client::realtime(&world.origin).await;
        client.say(&respond()).await;
        client.until("response.created").await;
        if drain < call {
            client.vanish();
        } else {
            assert_eq!(client.until("error").await["error"]["code"], "gratis_upstream_timeout");
        }
        let balance = world.settled(OMNI).await;
        assert!(balance.presumed >= world.charged(OMNI).await && balance.spent == 0, "{balance:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_nothing_was_held_for_is_written_down_all_the_same() {
    // An upstream that begins three responses at once: only the first finds a hold.
    let origin = script::upstream(|mut raw| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let text = |value: Value| frame(0x81, value.to_string().as_bytes(), None);
        let created = text(json!({"type": "response.created", "response": {}}));
        let usage = json!({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15});
        let done = text(json!({"type": "response.done", "response": {"usage": usage}}));
        raw.stream
            .write_all(&[text(json!({"type": "session.created"})), created.repeat(3), done.repeat(3)].concat())
            .await
            .unwrap();
        let _ = raw.stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let mut settings = plan();
    settings.upstream = Some(origin);
    let world = World::new(settings).await;
    let mut client = Client::realtime(&world.origin).await;
    for _ in 0..3 {
        client.until("response.done").await;
    }
    let begun = std::time::Instant::now();
    while world.balance(OMNI).await.spent != 45 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", world.balance(OMNI).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(world.metrics.over_hold.get() > 0, "it is an incident");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_when_the_process_goes_down_and_its_call_completes_first() {
    let mut settings = plan();
    settings.simulator.chunk_delay = Duration::from_millis(20);
    let world = World::new(settings).await;
    let mut client = Client::realtime(&world.origin).await;
    client.say(&respond()).await;
    client.until("response.created").await;
    world.proxy.go_down();
    client.until("response.done").await;
    assert_eq!(client.closed().await.unwrap().0, 1001);
    let balance = world.settled(OMNI).await;
    assert_eq!((balance.spent, balance.presumed), (world.charged(OMNI).await, 0));
    let late = Client::with_key(&world.origin, "/api-ws/v1/inference", crate::support::world::KEY).await;
    assert!(
        matches!(late.err().unwrap(), tokio_tungstenite::tungstenite::Error::Http(response) if response.status() == 503)
    );
}
