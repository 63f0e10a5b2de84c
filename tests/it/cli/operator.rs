//! Operators' commands.

use std::sync::atomic::Ordering;

use gratis::store::KeyStore;
use gratis::store::keys::is_well_formed;
use serde_json::json;

use super::desk::{Desk, program, run};
use crate::admin::office::{DAY, TOKEN};

#[tokio::test]
async fn accounts() {
    let desk = Desk::new().await;
    let made = desk.run("account create team --site easy --state unverified").await.code(0);
    assert!(made.out.contains("unverified") && made.out.contains("easy"), "{made:?}");
    let list = desk.run("account list").await.code(0);
    assert!(list.out.starts_with("ACCOUNT") || list.out.starts_with(" ACCOUNT"), "{list:?}");
    assert_eq!(list.rows()[1][..3], ["team", "easy", "unverified"]);
    let shown = desk.run("account show team -o json").await.code(0).json();
    assert_eq!(shown, desk.office.get("/admin/v1/accounts/team").await);
    assert_eq!(shown["never_pay"], true);
    desk.run("account set-state team overdue --grace-until 2026-12-01").await.code(0);
    let team = desk.office.get("/admin/v1/accounts/team").await;
    assert_eq!([&team["state"], &team["grace_until"]], ["overdue", "2026-11-30T16:00:00Z"]);
    desk.run("account never-pay on").await.code(0);
    assert_eq!(desk.office.get("/admin/v1/accounts/default").await["never_pay"], true);
    desk.run("account never-pay off --account team").await.code(0);
    assert_eq!(desk.office.get("/admin/v1/accounts/team").await["never_pay"], false);
    desk.run("account create other --never-pay off").await.code(0);
    assert_eq!(desk.office.get("/admin/v1/accounts/other").await["never_pay"], false);
}

#[tokio::test]
async fn a_new_key_alone_is_on_the_standard_output() {
    let desk = Desk::new().await;
    let made = desk.run("key create --name ci --model qwen-max --workspace w").await.code(0);
    let secret = made.out.trim_end();
    assert!(is_well_formed(secret), "{made:?}");
    assert!(!made.err.contains(secret));
    let digest = desk.office.state.pepper.digest(secret);
    let key = desk.office.store.caller(&digest).await.unwrap().unwrap().key;
    assert_eq!((key.name.as_str(), key.models.len(), key.workspace.as_deref()), ("ci", 1, Some("w")));
    let id = key.id.as_str();
    let list = desk.run("key list").await.code(0);
    assert!(!list.out.contains(secret) && list.out.contains(&secret[secret.len() - 4..]));
    for (verb, state) in [("disable", "disabled"), ("enable", "active"), ("delete", "deleted")] {
        let shown = desk.run(&format!("key {verb} {id} -o json")).await.code(0).json();
        assert_eq!(shown["state"], state);
    }
    let refused = desk.run(&format!("key enable {id}")).await.code(1);
    assert!(refused.err.contains("[key_deleted]"), "{refused:?}");
}

#[tokio::test]
async fn grants_and_balances() {
    let desk = Desk::new().await;
    let none = desk.run("grant list").await.code(0);
    assert!(none.out.is_empty() && none.err.contains("no grants"));
    let line = "grant add qwen-max 1,000,000 --spent 10 --start 2026-11-21 --valid-days 30 -o json";
    let made = desk.run(line).await.code(0).json();
    assert_eq!([&made["granted"], &made["spent"]], [1_000_000, 10]);
    assert_eq!(made["end"], "2026-12-20T16:00:00Z");
    desk.run("grant add wan 5 --end never").await.code(0);
    let list = desk.run("grant list").await.code(0);
    let row = &list.rows()[0];
    assert_eq!(row[..8], ["qwen-max", "1", "both", "1,000,000", "10", "0", "0", "999,990"], "{list:?}");
    desk.run("grant set 1 2_000_000").await.code(0);
    let balance = desk.run("model balance qwen-max -o json").await.code(0).json();
    assert_eq!(balance["balances"][0]["granted"], 2_000_000);
    assert_eq!(desk.run("model balance").await.code(0).rows().len(), 2);
    desk.office.clock.advance(30 * DAY);
    let list = desk.run("model balance qwen-max").await.code(0);
    assert!(list.out.contains("No free quota"), "{list:?}");
}

#[tokio::test]
async fn switches() {
    let desk = Desk::new().await;
    for model in ["qwen-max", "shared", "vendor/slashed"] {
        desk.office.grant(model).await;
    }
    let refused = desk.run("model switch on qwen-turbo").await.code(1);
    assert!(refused.err.contains("[no_grant]") && refused.out.is_empty(), "{refused:?}");
    desk.run("model switch on vendor/slashed").await.code(0);
    let refused = desk.run("model switch off vendor/slashed").await.code(1);
    assert!(refused.err.contains("[not_used_up]"), "{refused:?}");
    let rehearsal = desk.run("model switch on --all --dry-run").await.code(0);
    assert_eq!(rehearsal.rows()[0][..2], ["qwen-max", "changed"]);
    assert!(rehearsal.err.contains("nothing was changed"));
    let some = desk.run("model switch on qwen-max qwen-turbo").await.code(1);
    assert_eq!(some.rows()[1][..3], ["qwen-turbo", "refused", "no_grant"], "{some:?}");
    let all = desk.run("model switch on --all -o json").await.code(0).json();
    assert_eq!(all["changed"], 1);
    let list = desk.run("model list").await.code(0);
    assert!(list.rows().iter().all(|row| row.contains(&"on")), "{list:?}");
    desk.run("model switch off --all").await.code(1);
}

#[tokio::test]
async fn the_consoles_figure() {
    let desk = Desk::new().await;
    desk.office.grant("qwen-max").await;
    let synced = desk.run("model sync qwen-max 362,917/1,000,000").await.code(0);
    assert!(synced.out.starts_with("drift 637,083:"), "{synced:?}");
    let same = desk.run("model sync qwen-max 362917").await.code(0);
    assert!(same.out.contains("agree"));
    let refused = desk.run("model sync qwen-max 400,000/1,000,000").await.code(1);
    assert!(refused.err.contains("[would_raise]") && refused.err.contains("left here: 362,917"), "{refused:?}");
    let raised = desk.run("model sync qwen-max 400,000/1,000,000 --raise --grant 1 -o json").await.code(0).json();
    assert_eq!([&raised["drift"], &raised["available"]], [-37_083, 400_000]);
    desk.run("model sync qwen-max 36,2917").await.code(2);
    desk.run("model reopen qwen-max").await.code(0);
}

#[tokio::test]
async fn holds_entries_routes_models_and_reload() {
    let desk = Desk::new().await;
    let (key, _) = desk.office.key().await;
    desk.office.grant("qwen-max").await;
    let hold = desk.office.spend(&key, "qwen-max", 300, None).await;
    assert_eq!(desk.run("hold list").await.code(0).rows()[0][..2], [&hold.to_string(), "qwen-max"]);
    assert!(desk.run("hold list --state presumed").await.code(0).err.contains("no holds"));
    assert_eq!(desk.run("entry list --limit 1").await.code(0).rows().len(), 1);
    assert_eq!(desk.run("entry list --pool qwen-max").await.code(0).rows().len(), 2);
    assert!(desk.run("route list").await.code(0).out.contains("/compatible-mode/v1/chat/completions"));
    let known = desk.run("model list --catalogue").await.code(0);
    assert!(known.out.contains("no-quota") && known.out.contains("131,072"));
    *desk.office.reload.lock().unwrap() = Err("gratis.toml:4: unknown key".to_owned());
    assert!(desk.run("reload").await.code(1).err.contains("gratis.toml:4"));
    *desk.office.reload.lock().unwrap() = Ok(gratis::admin::Reloaded { notes: vec!["restart".into()] });
    assert!(desk.run("reload").await.code(0).out.contains("note: restart"));
}

#[tokio::test]
async fn health_is_0_or_1() {
    let desk = Desk::new().await;
    assert_eq!(desk.run("health").await.code(0).out, "ok\n");
    desk.run("health --ready").await.code(0);
    desk.office.draining.store(true, Ordering::SeqCst);
    assert!(desk.run("health --ready").await.code(1).out.contains("draining"));
    desk.run("health").await.code(0);
    desk.run("health --admin http://127.0.0.1:1").await.code(1);
}

#[tokio::test]
async fn the_token_is_found_where_it_is() {
    let desk = Desk::new().await;
    let bare = |line: &str| {
        let mut command = program(desk.folder.path());
        command.args(line.split_whitespace()).args(["--admin", &desk.url]);
        command
    };
    let missing = run(bare("account list")).await.code(1);
    assert!(missing.err.contains("[admin_token_missing]"), "{missing:?}");
    assert!(run(bare("account list --token wrong")).await.code(1).err.contains("[admin_token_wrong]"));
    run(bare(&format!("account list --token {TOKEN}"))).await.code(0);
    std::fs::write(desk.path("t"), format!("{TOKEN}\n")).unwrap();
    run(bare("account list --token-file t")).await.code(0);
    run(bare("account list --token-file nothing")).await.code(2);
    std::fs::create_dir(desk.path("gratis-data")).unwrap();
    std::fs::write(desk.path("gratis-data/admin-token"), format!("{TOKEN}\n")).unwrap();
    run(bare("account list")).await.code(0);
}

#[tokio::test]
async fn the_address_and_the_token_come_from_the_configuration() {
    let desk = Desk::new().await;
    std::fs::create_dir(desk.path("state")).unwrap();
    std::fs::write(desk.path("state/admin-token"), TOKEN).unwrap();
    let listen = desk.url.trim_start_matches("http://");
    let file = format!("[admin]\nlisten = \"{listen}\"\n[store]\nstate_dir = \"state\"\n");
    std::fs::write(desk.path("g.toml"), file).unwrap();
    let mut command = program(desk.folder.path());
    command.args(["account", "list", "--config", "g.toml"]).env("DASHSCOPE_API_KEY", "sk-x");
    assert!(run(command).await.code(0).out.contains("default"));
}

#[tokio::test]
async fn exit_codes_are_stable() {
    let desk = Desk::new().await;
    desk.run("account list").await.code(0);
    desk.run("--version").await.code(0);
    desk.run("version").await.code(0);
    assert!(desk.run("--help").await.code(0).out.contains("Usage"));
    for refused in ["account show nobody", "model switch on nope", "grant set 9 1"] {
        let ran = desk.run(refused).await.code(1);
        assert!(ran.err.starts_with("error: ") && ran.out.is_empty(), "{ran:?}");
    }
    for misused in [
        "",
        "nonsense",
        "account",
        "account list --nope",
        "account list -o yaml",
        "model switch on",
        "model switch on qwen-max --all",
        "grant add qwen-max",
        "grant add qwen-max 10 --end never --valid-days 1",
        "entry list --limit 0",
        "account list --admin ftp://x",
        "account list --admin http://127.0.0.1/admin",
        "load --target http://127.0.0.1:1 --key k",
    ] {
        let ran = desk.run(misused).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{misused}: {ran:?}");
    }
    let unreachable = desk.run("account list --admin http://127.0.0.1:1").await.code(3);
    assert!(unreachable.err.contains("nothing answers at http://127.0.0.1:1"), "{unreachable:?}");
}

#[tokio::test]
async fn something_else_that_answers_is_not_taken_for_gratis() {
    let desk = Desk::new().await;
    let page = axum::Router::new().fallback(|| async { (http::StatusCode::BAD_GATEWAY, "<html>") });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, page).await });
    let ran = desk.run(&format!("account list --admin {url}")).await.code(1);
    assert!(ran.err.contains("is this the admin listener"), "{ran:?}");
    serving.abort();
}

#[tokio::test]
async fn json_is_the_apis_own_answer() {
    let desk = Desk::new().await;
    desk.office.grant("qwen-max").await;
    for (line, path) in [
        ("account list", "/admin/v1/accounts"),
        ("key list", "/admin/v1/accounts/default/keys"),
        ("grant list", "/admin/v1/accounts/default/grants"),
        ("model list", "/admin/v1/accounts/default/models"),
        ("model list --catalogue", "/admin/v1/models"),
        ("model balance", "/admin/v1/accounts/default/balances"),
        ("hold list", "/admin/v1/accounts/default/holds"),
        ("entry list", "/admin/v1/accounts/default/entries"),
        ("route list", "/admin/v1/coverage"),
        ("user list", "/admin/v1/accounts/default/users"),
        ("workspace list", "/admin/v1/accounts/default/workspaces"),
        ("account standing", "/admin/v1/accounts/default/standing"),
        ("fallback show", "/admin/v1/accounts/default/fallback"),
        ("notify channels", "/admin/v1/notify/channels"),
        ("notify show", "/admin/v1/accounts/default/notices"),
        ("upstream list", "/admin/v1/upstreams/closed"),
        ("shadow", "/admin/v1/accounts/default/shadow"),
        ("audit", "/admin/v1/audit"),
    ] {
        assert_eq!(desk.run(&format!("{line} -o json")).await.code(0).json(), desk.office.get(path).await, "{line}");
    }
    assert_eq!(desk.run("version").await.out, format!("gratis {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(desk.run("hold list -o json").await.json()["items"], json!([]));
}
