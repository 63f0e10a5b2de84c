//! Voices that a message names: another account's is as unknown as one that never was, in both APIs.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use super::client::{Client, respond, run_tts};
use super::script::{Got, frame, upstream};
use super::{OMNI, TTS, plan};
use crate::support::world::World;
use gratis::dialect::Kind;
use gratis::ledger::AccountId;
use gratis::store::{Resource, ResourceStore};

/// A world with a voice of the test's account, `v-ours`, and one of another's, `v-theirs`.
async fn voices(plan: crate::support::world::Plan) -> World {
    let world = World::new(plan).await;
    for (id, account) in [("v-ours", "default"), ("v-theirs", "other")] {
        let account = AccountId::from(account);
        let made = Resource { kind: Kind::Voice, id: id.into(), account, created: world.clock.now(), task: None };
        world.store.remember(made).await.unwrap();
    }
    world
}

fn update(voice: &Value) -> Value {
    json!({"type": "session.update", "session": {"modalities": ["text", "audio"], "voice": voice}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_with_another_accounts_voice_is_refused_before_it_goes_up() {
    let world = voices(plan()).await;
    let mut client = Client::inference(&world.origin).await;
    let mut run = run_tts("hello");
    run["payload"]["parameters"]["voice"] = json!("v-theirs");
    client.say(&run).await;
    let failed = client.until("task-failed").await;
    assert_eq!(failed["header"]["error_code"], "NotFound", "{failed}");
    assert_eq!((world.received().await, world.settled(TTS).await.held), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_another_accounts_voice_is_refused_before_it_goes_up() {
    let create = json!({"type": "response.create", "response": {"voice": "v-theirs"}});
    let object = json!({"type": "response.create", "response": {"voice": {"id": "v-theirs"}}});
    let twice = json!({"type": "session.update", "session": {"voice": "Cherry", "Voice": "v-theirs"}});
    for (event, code) in [
        (update(&json!("v-theirs")), "not_found"),
        (create, "not_found"),
        (object, "invalid_request_error"),
        (twice, "invalid_request_error"),
    ] {
        let world = voices(plan()).await;
        let mut client = Client::realtime(&world.origin).await;
        client.say(&event).await;
        let error = client.next().await;
        assert_eq!(error["type"], "error", "{error}");
        let (said, kind) = (&error["error"]["code"], &error["error"]["type"]);
        assert_eq!((said, kind), (&json!(code), &json!("invalid_request_error")), "{error}");
        assert_eq!(client.closed().await.unwrap().0, 1008);
        assert_eq!(world.charged(OMNI).await, 0);
        assert_eq!(world.settled(OMNI).await.held, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_have_the_accounts_own_voice_the_providers_or_none() {
    let world = voices(plan()).await;
    let mut client = Client::realtime(&world.origin).await;
    for voice in [json!("v-ours"), json!("Cherry"), Value::Null] {
        client.say(&update(&voice)).await;
        client.until("session.updated").await;
    }
    client.say(&respond()).await;
    client.until("response.done").await;
    client.close().await;
    let balance = world.settled(OMNI).await;
    assert_eq!((balance.spent, balance.presumed), (world.charged(OMNI).await, 0));
}

/// The next response's hold may be taken while the store is asked whose a voice is: then the message that names the voice waits
/// for the hold after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_voice_is_looked_up_goes_up_only_with_a_hold_of_its_own() {
    let got = Got::default();
    let (tell, told) = watch::channel(0);
    let keep = got.clone();
    let origin = upstream(move |mut raw| {
        let (got, mut told) = (keep.clone(), told.clone());
        async move {
            let says = |text: Value| frame(0x81, text.to_string().as_bytes(), None);
            let (mut reader, mut writer) = raw.stream.split();
            let usage = json!({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15});
            let speak = async {
                for (step, text) in [
                    (1, json!({"type": "response.created", "response": {}})),
                    (2, json!({"type": "response.text.delta", "delta": "hm"})),
                    (3, json!({"type": "response.done", "response": {"usage": usage}})),
                ] {
                    told.wait_for(|reached| *reached >= step).await.unwrap();
                    writer.write_all(&says(text)).await.unwrap();
                }
            };
            let listen = async {
                let mut buffer = vec![0; 4_096];
                while let Ok(read @ 1..) = reader.read(&mut buffer).await {
                    got.add(&buffer[..read]);
                }
            };
            tokio::join!(speak, listen);
        }
    })
    .await;
    let mut settings = plan();
    settings.upstream = Some(origin);
    // A second response fits only once the first is settled.
    settings.grants[2].1 = 40_000;
    settings.quota.busy_wait = std::time::Duration::from_millis(1);
    let world = voices(settings).await;
    let asked = world.store.whose.write().await;
    let path = format!("/api-ws/v1/realtime?model={OMNI}");
    let mut client = Client::to(&world.origin, &path).await;
    client.say(&update(&json!("v-ours"))).await;
    tell.send(1).unwrap();
    client.until("response.created").await;
    drop(asked);
    tell.send(2).unwrap();
    client.until("response.text.delta").await;
    assert_eq!(got.bytes().len(), 0, "the message went up in the middle of the response, without a hold");
    tell.send(3).unwrap();
    client.until("response.done").await;
    got.wait(update(&json!("v-ours")).to_string().len()).await;
    assert!(world.balance(OMNI).await.held > 0);
}
