//! `gratis init`: what it makes, and what it never touches.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gratis::clock::Clock;
use gratis::ledger::{AccountId, Book, Side};
use gratis::store::embedded::{Embedded, Settings};
use gratis::store::keys::is_well_formed;
use gratis::store::{KeyStore, LedgerStore, Pepper};
use tempfile::TempDir;

use super::desk::{Ran, program};

fn init(folder: &Path, line: &str) -> Ran {
    let mut command = program(folder);
    command.arg("init").args(line.split_whitespace()).env("DASHSCOPE_API_KEY", "sk-upstream");
    Ran::of(command)
}

async fn book(folder: &Path) -> (Book, Embedded) {
    let store = Embedded::open(Settings::new(folder.join("gratis-data")), Clock::system()).unwrap();
    (store.book(&AccountId::from("default")).await.unwrap(), store)
}

/// Every file beneath a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

#[tokio::test]
async fn the_consoles_figures_make_a_ledger() {
    let folder = TempDir::new().unwrap();
    let line = "--balance qwen-max=362,917/1,000,000 --balance qwen-plus=5 --start 2026-11-01 -o json";
    let made = init(folder.path(), line).code(0).json();
    let (book, store) = book(folder.path()).await;
    assert!(book.never_pay && made["never_pay"] == true);
    assert_eq!(book.site, "model-studio-intl");
    let grants: Vec<_> = book.pools.values().flat_map(|pool| &pool.grants).collect();
    assert_eq!(grants.len(), 2);
    let max = grants.iter().find(|fund| fund.grant.pool.as_str() == "qwen-max").unwrap();
    assert_eq!((max.balance.granted, max.balance.spent), (1_000_000, 637_083));
    assert_eq!(max.grant.start.to_rfc3339(), "2026-10-31T16:00:00Z");
    assert_eq!(max.grant.end.unwrap().to_rfc3339(), "2027-01-29T16:00:00Z");
    // The catalogue knows the whole of what was stated without it.
    let plus = grants.iter().find(|fund| fund.grant.pool.as_str() == "qwen-plus").unwrap();
    assert_eq!((plus.balance.granted, plus.balance.available()), (1_000_000, 5));
    let key = made["api_key"].as_str().unwrap();
    assert!(is_well_formed(key));
    let state = folder.path().join("gratis-data");
    let pepper = Pepper::from_text(&std::fs::read_to_string(state.join("pepper")).unwrap()).unwrap();
    let caller = store.caller(&pepper.digest(key)).await.unwrap().unwrap();
    assert_eq!(caller.account.as_str(), "default");
    for name in ["pepper", "admin-token"] {
        assert_eq!(std::fs::metadata(state.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(std::fs::read_to_string(state.join("admin-token")).unwrap().trim().len() > 40);
    // The key itself is nowhere on the disk.
    store.close().await.unwrap();
    assert!(contents(&state).values().all(|bytes| !bytes.windows(20).any(|part| part == &key.as_bytes()[10..30])));
}

#[tokio::test]
async fn assume_full_grants_every_pool_once() {
    let folder = TempDir::new().unwrap();
    let ran = init(folder.path(), "--assume-full").code(0);
    assert!(ran.out.contains("never_pay    on") && ran.out.contains("export OPENAI_BASE_URL="), "{ran:?}");
    assert!(ran.err.contains("assumed: the whole free quota is left"));
    assert!(ran.err.contains("assumed: the quota begins now"));
    let (book, _store) = book(folder.path()).await;
    for (pool, funds) in &book.pools {
        let sides: Vec<Side> = funds.grants.iter().map(|fund| fund.grant.side).collect();
        assert!(sides == [Side::Both] || sides == [Side::Input, Side::Output], "{pool}: {sides:?}");
        assert!(funds.grants.iter().all(|fund| fund.balance.spent == 0 && fund.grant.end.is_some()), "{pool}");
    }
    assert!(book.pools.len() > 20);
    assert_eq!(book.pools["qwen-max"].grants[0].balance.granted, 1_000_000);
}

#[test]
fn an_existing_ledger_is_never_touched() {
    let folder = TempDir::new().unwrap();
    init(folder.path(), "--balance qwen-max=1/2").code(0);
    let state = folder.path().join("gratis-data");
    let before = contents(&state);
    let ran = init(folder.path(), "--assume-full").code(1);
    assert!(ran.err.contains("ledger.db exists already; it was left as it is") && ran.out.is_empty(), "{ran:?}");
    assert_eq!(contents(&state), before);
    // A ledger without its pepper is not given another one, with which no key would be found.
    std::fs::remove_file(state.join("pepper")).unwrap();
    init(folder.path(), "--assume-full").code(1);
    assert!(!state.join("pepper").exists());
}

#[test]
fn figures_that_make_no_sense_make_nothing() {
    let folder = TempDir::new().unwrap();
    for (line, said) in [
        ("", "required"),
        ("--assume-full --balance qwen-max=1", "cannot be used"),
        ("--balance qwen-max", "MODEL=LEFT/TOTAL"),
        ("--balance qwen-max=36,2917", "no count"),
        ("--balance qwen-max=2/1", "more is left"),
        ("--balance qwen-max=2,000,000", "state LEFT/TOTAL"),
        ("--balance qwen-mxa=1/2", "no such model"),
        ("--balance qwen-max=1/2 --balance qwen-max=1/2", "stated before"),
        ("--balance qwen-max:input=1/2", "not counted apart"),
        ("--assume-full --start soon", "no time"),
        ("--assume-full --config nothing.toml", "nothing.toml"),
    ] {
        let ran = init(folder.path(), line).code(2);
        assert!(ran.err.contains(said) && ran.out.is_empty(), "{line}: {ran:#?}");
        assert!(!folder.path().join("gratis-data").exists(), "{line}");
    }
    // Every mistake at once.
    let ran = init(folder.path(), "--balance a=1/2 --balance b=1/2").code(2);
    assert!(ran.err.contains("a: ") && ran.err.contains("b: "), "{ran:?}");
}

#[tokio::test]
async fn a_configuration_decides_where_and_by_whose_rules() {
    let folder = TempDir::new().unwrap();
    let file = "[store]\nstate_dir = \"here\"\n[site]\nname = \"qwen-cloud\"\n[server]\nlisten = \"0.0.0.0:9090\"\n";
    std::fs::write(folder.path().join("g.toml"), file).unwrap();
    let ran = init(folder.path(), "--balance qwen-max=1/2 --config g.toml").code(0);
    assert!(ran.out.contains("http://127.0.0.1:9090/compatible-mode/v1"), "{ran:?}");
    assert!(ran.out.contains("gratis serve --config g.toml"));
    let store = Embedded::open(Settings::new(folder.path().join("here")), Clock::system()).unwrap();
    assert_eq!(store.book(&AccountId::from("default")).await.unwrap().site, "qwen-cloud");
}

#[test]
fn secrets_that_the_operator_keeps_are_used() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("p"), "ab".repeat(32)).unwrap();
    std::fs::write(folder.path().join("t"), "my-token").unwrap();
    let file = "[keys]\npepper = { file = \"p\" }\n[admin]\ntoken = { file = \"t\" }\n";
    std::fs::write(folder.path().join("g.toml"), file).unwrap();
    let made = init(folder.path(), "--balance qwen-max=1/2 --config g.toml -o json").code(0).json();
    assert!(made["admin_token_file"].is_null());
    let state = folder.path().join("gratis-data");
    assert!(!state.join("pepper").exists() && !state.join("admin-token").exists());
    std::fs::write(folder.path().join("p"), "short").unwrap();
    std::fs::remove_dir_all(&state).unwrap();
    assert!(init(folder.path(), "--balance qwen-max=1/2 --config g.toml").code(2).err.contains("pepper"));
    assert!(!state.exists());
}
