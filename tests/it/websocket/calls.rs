//! Tasks and responses that go well, and those that are refused.

use serde_json::{Value, json};

use super::client::{Client, finish, go_on, respond, run_asr, run_tts};
use super::{ASR, OMNI, TTS, plan};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn several_spoken_tasks_of_one_connection_are_settled_at_what_was_charged() {
    let world = World::new(plan()).await;
    let mut client = Client::inference(&world.origin).await;
    for round in 0..3 {
        client.say(&run_tts("")).await;
        client.until("task-started").await;
        for text in ["hello there", " 你好，世界", " again"] {
            client.say(&go_on(text)).await;
            client.until("result-generated").await;
        }
        client.say(&finish()).await;
        client.until("task-finished").await;
        // The end waited for the settlement.
        let balance = world.balance(TTS).await;
        assert_eq!((balance.held, balance.presumed), (0, 0), "round {round}");
        assert_eq!(balance.spent, world.charged(TTS).await);
    }
    assert_eq!(world.charged(TTS).await, 3 * (11 + 1 + 4 + 1 + 4 + 6));
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_outgrows_its_hold_is_held_for_again_before_it_goes_up() {
    let world = World::new(plan()).await;
    let mut client = Client::inference(&world.origin).await;
    client.say(&run_tts("begin")).await;
    client.until("result-generated").await;
    for _ in 0..8 {
        client.say(&go_on(&"x".repeat(400))).await;
        client.until("result-generated").await;
        let balance = world.balance(TTS).await;
        assert!(balance.held >= world.charged(TTS).await, "{balance:?}");
    }
    client.say(&finish()).await;
    client.until("task-finished").await;
    assert_eq!(world.settled(TTS).await.spent, 3_205);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_characters_of_a_grant_can_be_used_and_not_one_more() {
    let mut settings = plan();
    settings.grants[0].1 = 100;
    let world = World::new(settings).await;
    let mut client = Client::inference(&world.origin).await;
    client.say(&run_tts("")).await;
    client.until("task-started").await;
    for _ in 0..4 {
        client.say(&go_on(&"x".repeat(25))).await;
        client.until("result-generated").await;
    }
    client.say(&go_on("y")).await;
    // The task that runs is finished upstream; the client learns of the refusal instead of a false success.
    let failed = client.until("task-failed").await;
    // While its own hold is in the way, nobody can know yet that the rest is used up.
    assert_eq!(failed["header"]["error_code"], "Throttling.RateQuota");
    assert_eq!(client.closed().await.unwrap().0, 1013);
    let balance = world.settled(TTS).await;
    assert_eq!((balance.spent, balance.presumed, balance.available()), (100, 0, 0));
    assert_eq!(world.charged(TTS).await, 100);
    let mut client = Client::inference(&world.origin).await;
    client.say(&run_tts("y")).await;
    assert_eq!(client.until("task-failed").await["header"]["error_code"], "AllocationQuota.FreeTierOnly");
    assert_eq!(client.closed().await.unwrap().0, 1008);
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_is_held_for_by_its_bytes_and_settled_at_its_seconds() {
    let world = World::new(plan()).await;
    let mut client = Client::inference(&world.origin).await;
    client.say(&run_asr("pcm")).await;
    client.until("task-started").await;
    for _ in 0..45 {
        client.send(vec![7; 32_000]).await;
        client.until("result-generated").await;
        assert!(world.balance(ASR).await.held >= world.charged(ASR).await);
    }
    client.say(&finish()).await;
    client.until("task-finished").await;
    assert_eq!(world.settled(ASR).await.spent, 45);
    assert_eq!(world.charged(ASR).await, 45);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_audio_has_no_bound_and_is_refused_in_free_quota_only() {
    let world = World::new(plan()).await;
    let mut client = Client::inference(&world.origin).await;
    client.say(&run_asr("opus")).await;
    let failed = client.until("task-failed").await;
    assert_eq!(failed["header"]["error_code"], "AllocationQuota.FreeTierOnly");
    assert_eq!(world.received().await, 0, "the upstream was not even connected to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_held_for_ahead_and_turns_are_added() {
    let world = World::new(plan()).await;
    let mut client = Client::realtime(&world.origin).await;
    assert_eq!(world.balance(OMNI).await.held, 32_768 + 4_096);
    for _ in 0..3 {
        client.say(&json!({"type": "conversation.item.create", "item": {"content": [{"text": "hi"}]}})).await;
        client.say(&respond()).await;
        client.until("response.created").await;
        client.until("response.done").await;
        let balance = world.balance(OMNI).await;
        assert_eq!((balance.spent, balance.presumed), (world.charged(OMNI).await, 0));
    }
    client.close().await;
    let balance = world.settled(OMNI).await;
    assert_eq!((balance.spent, balance.presumed, balance.held), (world.charged(OMNI).await, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_begins_by_itself_is_covered() {
    let world = World::new(plan()).await;
    let mut client = Client::realtime(&world.origin).await;
    client.say(&json!({"type": "session.update", "session": {"turn_detection": {"type": "server_vad"}}})).await;
    client.until("session.updated").await;
    for _ in 0..4 {
        for _ in 0..3 {
            client.say(&json!({"type": "input_audio_buffer.append", "audio": "AAAA".repeat(1_000)})).await;
        }
        client.until("response.done").await;
        assert!(world.balance(OMNI).await.presumed == 0);
    }
    client.close().await;
    assert_eq!(world.settled(OMNI).await.spent, world.charged(OMNI).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_next_response_does_not_fit_the_running_one_completes_and_then_the_connection_ends() {
    let mut settings = plan();
    // Two responses at once do not fit; the second does once the first is settled, the third does not any more.
    settings.grants[2].1 = 32_768 + 4_096 + 60;
    settings.simulator.answer = 8..=8;
    settings.simulator.chunk_delay = std::time::Duration::from_millis(10);
    settings.quota.busy_wait = std::time::Duration::from_millis(1);
    let world = World::new(settings).await;
    let mut client = Client::realtime(&world.origin).await;
    client.say(&respond()).await;
    client.until("response.created").await;
    client.say(&respond()).await;
    client.until("response.done").await;
    client.until("response.created").await;
    client.try_say(&respond()).await;
    client.until("response.done").await;
    let error = client.until("error").await;
    assert_eq!(error["error"]["code"], "AllocationQuota.FreeTierOnly");
    assert_eq!(client.closed().await.unwrap().0, 1008);
    let balance = world.settled(OMNI).await;
    assert_eq!((balance.spent, balance.presumed), (world.charged(OMNI).await, 0), "two responses and no more");
    assert_eq!(balance.spent, 32 + 8 + 40 + 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realtime_connection_for_which_nothing_is_left_is_refused_at_the_handshake() {
    let mut settings = plan();
    settings.grants[2].1 = 10_000;
    let world = World::new(settings).await;
    let path = format!("/api-ws/v1/realtime?model={OMNI}");
    let refused = Client::with_key(&world.origin, &path, crate::support::world::KEY).await.err().unwrap();
    let tokio_tungstenite::tungstenite::Error::Http(response) = refused else { panic!("{refused}") };
    assert_eq!(response.status(), 403);
    let body: Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
    assert_eq!(body["error"]["code"], "AllocationQuota.FreeTierOnly");
    assert_eq!(world.received().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_billed_beside_the_quota_is_refused_in_a_session_too() {
    for update in [json!({"enable_search": true}), json!({"tools": [{"type": "web_search"}]})] {
        let world = World::new(plan()).await;
        let mut client = Client::realtime(&world.origin).await;
        client.say(&json!({"type": "session.update", "session": update})).await;
        let error = client.until("error").await;
        assert_eq!(error["error"]["code"], "AllocationQuota.FreeTierOnly", "{error}");
        client.closed().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_refused_at_the_handshake_and_a_message_that_could_be_read_twice_never_goes_up() {
    let world = World::new(plan()).await;
    let wrong = Client::with_key(&world.origin, "/api-ws/v1/inference", "sk-wrong").await.err().unwrap();
    assert!(
        matches!(&wrong, tokio_tungstenite::tungstenite::Error::Http(response) if response.status() == 401),
        "{wrong}"
    );
    let twice = |text: String| text.replacen("\"model\":", "\"Model\":\"x\",\"model\":", 1);
    let escaped = |text: String| text.replacen("\"model\":", "\"mod\\u0065l\":\"x\",\"model\":", 1);
    for text in [twice(run_tts("").to_string()), escaped(run_tts("").to_string()), "[]".into(), "no".into()] {
        let mut client = Client::inference(&world.origin).await;
        client.raw(&text).await;
        let failed = client.until("task-failed").await;
        assert_eq!(failed["header"]["error_code"], "InvalidParameter", "{text}");
        assert_eq!(client.closed().await.unwrap().0, 1008);
    }
    assert_eq!(world.received().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_s_refusal_passes_as_it_is_and_costs_nothing() {
    let world = World::new(plan()).await;
    world.behave(json!({"mode": "rate-limit"})).await;
    let mut client = Client::inference(&world.origin).await;
    client.say(&run_tts("hello")).await;
    let failed = client.until("task-failed").await;
    assert_eq!(failed["header"]["error_code"], "limit_requests");
    let balance = world.settled(TTS).await;
    assert_eq!((balance.spent, balance.presumed), (0, 0));

    world.behave(json!({"mode": "free-tier-only"})).await;
    let mut client = Client::inference(&world.origin).await;
    client.say(&run_tts("hello")).await;
    client.until("task-failed").await;
    client.closed().await;
    world.quiet().await;
    let received = world.received().await;
    let mut again = Client::inference(&world.origin).await;
    again.say(&run_tts("hello")).await;
    assert_eq!(again.until("task-failed").await["header"]["error_code"], "AllocationQuota.FreeTierOnly");
    assert_eq!(world.received().await, received, "the pool was closed by the provider's word");
}
