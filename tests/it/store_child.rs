//! Child processes: a store that is killed, limited or kept out has to be in a process of its own.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gratis::clock::Clock;
use gratis::ledger::{HoldId, Outcome, Resolution, Usage};
use gratis::store::embedded::{Embedded, Settings};
use gratis::store::redis::journal::Journal;
use gratis::store::{LedgerStore, StoreError};

use crate::journal_support::{BLOCK, reserved, settled, with};
use crate::store_support::{account, ask};

const WHAT: &str = "STORE_CHILD";
const DIR: &str = "STORE_CHILD_DIR";

/// A command line that runs this test binary as a child which does `what` in `dir`, behind an optional wrapper.
pub(crate) fn child(wrapper: &[&str], what: &str, dir: &Path) -> Command {
    let binary = std::env::current_exe().unwrap();
    let mut words: Vec<std::ffi::OsString> = wrapper.iter().map(Into::into).collect();
    words.push(binary.into());
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .args(["--exact", "store_child::runs_as_a_child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(WHAT, what)
        .env(DIR, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

#[test]
#[ignore = "the body of the child processes of other tests"]
fn runs_as_a_child() {
    let what = std::env::var(WHAT).expect("started by another test");
    let dir = std::env::var(DIR).expect("started by another test");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    if let Some(what) = what.strip_prefix("journal-") {
        return match (what, Journal::open(Path::new(&dir), BLOCK, Clock::system())) {
            (_, Err(error)) => say(&format!("refused {error}")),
            ("open", Ok(journal)) => runtime.block_on(journal.close()).map(|()| say("opened")).unwrap(),
            ("spend", Ok(journal)) => runtime.block_on(spend_in_journal(Arc::new(journal))),
            (other, Ok(_)) => panic!("unknown child {other}"),
        };
    }
    // The journal is folded often, so that some of those who are killed are at it.
    let settings = Settings { flush_every: Duration::from_millis(20), ..Settings::new(&dir) };
    match (what.as_str(), Embedded::open(settings, Clock::system())) {
        (_, Err(error)) => say(&format!("refused {error}")),
        ("open", Ok(_)) => say("opened"),
        ("spend", Ok(store)) => runtime.block_on(spend(Arc::new(store))),
        (other, Ok(_)) => panic!("unknown child {other}"),
    }
}

/// One write a line, so that a line is in the pipe whole or not at all.
fn say(line: &str) {
    std::io::stdout().lock().write_all(format!("\n@ {line}\n").as_bytes()).unwrap();
}

/// What a child said.
pub(crate) fn said(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().filter_map(|line| line.strip_prefix("@ ")).map(str::to_owned).collect()
}

/// Reserves and settles as fast as it can, until it is killed or the store refuses. Says `admitted ID AMOUNT` after an admission,
/// `settling ID USED` before a settlement.
async fn spend(store: Arc<Embedded>) {
    let round = u128::from(std::process::id()) << 64;
    let next = Arc::new(AtomicU64::new(1));
    say("ready");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, next) = (store.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let id = round | u128::from(number);
                let amount = 100 + number % 900;
                match store.reserve(&account(), ask(id, amount)).await {
                    Ok(Outcome::Admitted(_)) => say(&format!("admitted {id} {amount}")),
                    Ok(other) => panic!("{other:?}"),
                    Err(error) => return say(&format!("failed {error}")),
                }
                if number.is_multiple_of(7) {
                    continue;
                }
                let output = number % 100;
                say(&format!("settling {id} {output}"));
                let usage = Resolution::Settle(Usage { input: 0, output });
                if let Err(error) = store.resolve(&account(), HoldId(id), usage, None).await {
                    return say(&format!("failed {error}"));
                }
            }
        });
    }
    tasks.join_all().await;
    let check = store.check().await;
    let closed = store.close().await;
    say(&format!("ended check={} close={}", check.is_ok(), closed.is_ok()));
}

/// Writes down calls as a replica would, until it is killed or the journal refuses. Says `took ID AMOUNT` once a reservation may be
/// answered, `used ID USED` before its settlement is appended, and `parking ID`, `parked ID`, `unparking ID` around settlements that
/// wait.
async fn spend_in_journal(journal: Arc<Journal>) {
    let round = u128::from(std::process::id()) << 64;
    let next = Arc::new(AtomicU64::new(1));
    say("ready");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (journal, next) = (journal.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = one_call(&journal, round | u128::from(number), number).await {
                    return say(&format!("failed {error}"));
                }
            }
        });
    }
    tasks.join_all().await;
    let check = journal.check();
    let closed = journal.close().await;
    say(&format!("ended check={} close={}", check.is_ok(), closed.is_ok()));
}

async fn one_call(journal: &Journal, id: u128, number: u64) -> Result<(), StoreError> {
    let (amount, used) = (100 + number % 900, number % 100);
    let (held, spent) = (i64::try_from(amount).unwrap(), i64::try_from(used).unwrap());
    if let Some(wait) = journal.append(&account(), with(10_000, &[reserved(id, held)]), number)? {
        wait.done().await?;
    }
    say(&format!("took {id} {amount}"));
    if number.is_multiple_of(7) {
        return Ok(());
    }
    if number.is_multiple_of(3) {
        say(&format!("parking {id}"));
        journal.park(&account(), HoldId(id), Resolution::Release, None).await?;
        say(&format!("parked {id}"));
        if number.is_multiple_of(2) {
            return Ok(());
        }
        say(&format!("unparking {id}"));
        journal.unpark(HoldId(id))?;
    }
    say(&format!("used {id} {used}"));
    match journal.append(&account(), with(10_000, &[settled(id, held, spent)]), number)? {
        Some(wait) => wait.done().await,
        None => Ok(()),
    }
}
