//! Connections to the upstream: kept where a reply ended well, and never trusted for more than the call that they carry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::support::wire::chat;

const BODY: &str = r#"{"id":"x","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#;

/// What an upstream made for one test does with a connection after it has answered a request on it.
#[derive(Clone, Copy, PartialEq)]
enum After {
    Keep,
    Close,
}

struct Bare {
    address: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    /// Something comes for each connection that has ended.
    ended: mpsc::UnboundedReceiver<()>,
}

/// An upstream that answers every request with these bytes.
async fn bare(answer: String, after: After) -> Bare {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (over, ended) = mpsc::unbounded_channel();
    let counts = (Arc::clone(&connections), Arc::clone(&requests));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counts.0.fetch_add(1, Ordering::SeqCst);
            let (answer, over, requests) = (answer.clone(), over.clone(), Arc::clone(&counts.1));
            tokio::spawn(async move {
                let mut plug = Plug::over(stream);
                while plug.request().await.is_some() {
                    requests.fetch_add(1, Ordering::SeqCst);
                    plug.write(&answer).await;
                    if after == After::Close {
                        break;
                    }
                }
                drop(plug);
                let _ = over.send(());
            });
        }
    });
    Bare { address, connections, requests, ended }
}

async fn world_of(bare: &Bare) -> World {
    World::new(Plan { upstream: Some(bare.address.clone()), ..plan() }).await
}

async fn ask(world: &World) {
    let (status, _, body) = chat(&world.origin, KEY, &hi(false)).await;
    assert_eq!((status, body.as_ref()), (200, BODY.as_bytes()));
}

fn counted() -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len())
}

fn chunked() -> String {
    let (one, two) = BODY.split_at(20);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    format!("{head}{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_used_again_when_its_reply_has_ended() {
    for answer in [counted(), chunked()] {
        let bare = bare(answer, After::Keep).await;
        let world = world_of(&bare).await;
        for _ in 0..5 {
            ask(&world).await;
        }
        assert_eq!((bare.connections.load(Ordering::SeqCst), bare.requests.load(Ordering::SeqCst)), (1, 5));
        assert_eq!(world.settled("qwen-plus").await.spent, 35);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_closed_while_it_was_idle_costs_nothing() {
    let mut bare = bare(counted(), After::Close).await;
    let world = world_of(&bare).await;
    for _ in 0..3 {
        ask(&world).await;
        bare.ended.recv().await.unwrap();
    }
    assert_eq!((bare.connections.load(Ordering::SeqCst), bare.requests.load(Ordering::SeqCst)), (3, 3));
    let balance = world.settled("qwen-plus").await;
    assert_eq!((balance.spent, balance.presumed), (21, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_upstream_gives_up_is_not_used_again() {
    let bare = bare(counted().replace("content-type", "connection: close\r\ncontent-type"), After::Keep).await;
    let world = world_of(&bare).await;
    ask(&world).await;
    ask(&world).await;
    assert_eq!((bare.connections.load(Ordering::SeqCst), bare.requests.load(Ordering::SeqCst)), (2, 2));
}

/// A second answer behind the first is nobody's: it must not become the reply to the next call.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_a_reply_is_never_another_calls_reply() {
    let strange = BODY.replace("\"x\"", "\"strange\"");
    let answer =
        counted() + &counted().replace(BODY, &strange).replace(&BODY.len().to_string(), &strange.len().to_string());
    let bare = bare(answer, After::Keep).await;
    let world = world_of(&bare).await;
    for _ in 0..3 {
        ask(&world).await;
    }
    assert_eq!((bare.connections.load(Ordering::SeqCst), bare.requests.load(Ordering::SeqCst)), (3, 3));
    assert_eq!(world.settled("qwen-plus").await.spent, 21);
}

/// An idle connection is closed after its time, without another call.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_after_its_time() {
    let mut bare = bare(counted(), After::Keep).await;
    let world = World::new(Plan {
        upstream: Some(bare.address.clone()),
        idle_timeout: std::time::Duration::from_millis(50),
        ..plan()
    })
    .await;
    ask(&world).await;
    bare.ended.recv().await.unwrap();
}
