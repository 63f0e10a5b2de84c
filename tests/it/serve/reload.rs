//! SIGHUP: a configuration is taken over as a whole or not at all, and no call in progress notices.

use std::time::Duration;

use serde_json::json;

use super::{charged, hi, settled, upstream};
use crate::support::binary::Home;
use crate::support::plug::{Plug, chat_request};
use crate::support::wire::chat;

const TAKEN: &str = "The configuration was read again.";
const REFUSED: &str = "The new configuration is not taken over";

#[tokio::test(flavor = "multi_thread")]
async fn a_good_configuration_takes_over_and_a_bad_one_changes_nothing() {
    let simulator = upstream(Duration::from_millis(20)).await;
    let origin = simulator.origin();
    let home = Home::new(&origin, "");
    let key = home.init("qwen-max=500,000/1,000,000");
    let mut gratis = home.serve();
    let mut long = hi(false);
    long["messages"][0]["content"] = json!("x".repeat(2_000));
    assert_eq!(chat(&gratis.origin, &key, &long).await.0, 200);

    // A mistake beside a change: neither is taken over.
    home.configure(&origin, "[limits]\nmax_body = \"1KiB\"\nmax_bodies = 5\n");
    gratis.signal("HUP");
    gratis.wait_for(REFUSED);
    gratis.wait_for("max_bodies");
    assert_eq!(chat(&gratis.origin, &key, &long).await.0, 200, "the old configuration stays");
    std::fs::write(home.config(), "this is no TOML [").unwrap();
    gratis.signal("HUP");
    gratis.wait_for_times(REFUSED, 2);
    std::fs::remove_file(home.config()).unwrap();
    gratis.signal("HUP");
    gratis.wait_for_times(REFUSED, 3);
    assert_eq!(chat(&gratis.origin, &key, &long).await.0, 200, "the old configuration stays");

    let mut running = Plug::to(&gratis.origin).await;
    running.write(chat_request("1.1", &key, "", &hi(true).to_string())).await;
    running.until("data: ").await;
    home.configure(&origin, "[limits]\nmax_body = \"1KiB\"\n");
    gratis.signal("HUP");
    gratis.wait_for(TAKEN);
    let (status, _, body) = chat(&gratis.origin, &key, &long).await;
    assert_eq!(status, 413, "{body:?}");
    assert_eq!(chat(&gratis.origin, &key, &hi(false)).await.0, 200);
    running.until("data: [DONE]\n\n").await;
    // The connection that was open before goes by the new configuration from its next request on.
    running.until("0\r\n\r\n").await;
    running.write(chat_request("1.1", &key, "", &long.to_string())).await;
    assert_eq!(running.reply().await.status, 413);

    // What only a restart changes is said.
    home.configure(&origin, "[limits]\nin_flight = 7\n");
    gratis.signal("HUP");
    gratis.wait_for("limits.in_flight changed: it takes effect at the next start");
    assert_eq!(chat(&gratis.origin, &key, &long).await.0, 200);
    let balance = settled(&home, &gratis).await;
    assert_eq!(balance["available"], json!(500_000 - charged(&simulator).await), "{balance}");
}
