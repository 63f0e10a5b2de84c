//! Transcripts that read like an account book, and a stream of random commands: what every ledger has to agree on.
//!
//! A transcript is a text file in `book/`. A line is a comment (`#`), a heading (`= title`), a fact about the account before its
//! first line (`account unverified`, `never-pay`), a step (`09:01 reserve a qwen-max in 100 out 500 -> admitted 100+500`), or a
//! check (`balance qwen-max granted 1000 held 600 spent 0 presumed 0`). `parse` knows the words.

mod expect;
mod parse;
pub mod random;
mod words;

use gratis::ledger::{
    AccountState, Balance, Billed, Book, Change, Closure, Command, Outcome, PoolId, Timestamp, apply,
};
use gratis::ledger::{GrantId, HoldId, HoldState, Switch};

pub use expect::Expected;

/// One account's story.
pub struct Transcript {
    pub title: String,
    /// The account's state before the first line.
    pub state: AccountState,
    pub never_pay: bool,
    pub lines: Vec<Line>,
}

impl Transcript {
    /// Whether it uses `expire` or `forget`, which a store does by itself and not by order.
    pub fn has_upkeep(&self) -> bool {
        let upkeep = |line: &Line| match &line.what {
            What::Step(_, Command::Expire { .. } | Command::Forget { .. }, _) => true,
            What::Step(..) | What::Balance(..) | What::Pool(..) | What::Hold(..) => false,
        };
        self.lines.iter().any(upkeep)
    }
}

/// A line that does or checks something.
pub struct Line {
    /// `file:line`, for the message.
    pub place: String,
    pub text: String,
    pub what: What,
}

/// What a line says.
pub enum What {
    Step(Timestamp, Command, Expected),
    Balance(PoolId, GrantId, Balance),
    Pool(PoolId, PoolCheck),
    Hold(HoldId, HoldState, Vec<(GrantId, u64)>),
}

/// What a `pool` line says of a pool.
#[derive(PartialEq, Eq, Debug)]
pub struct PoolCheck {
    pub switch: Switch,
    pub billed: Billed,
    pub overran: bool,
    pub closed: Option<Closure>,
}

/// Whoever keeps a book. Stores are played through the same lines as the pure rules.
pub trait Desk {
    fn carry_out(&mut self, now: Timestamp, command: Command) -> Outcome;
    /// The book after the holds that are due at `now` were expired; finals may be left out.
    fn book(&mut self, now: Timestamp) -> Book;
}

/// The rules themselves.
pub struct Direct {
    pub book: Book,
    pub changes: Vec<Change>,
}

impl Direct {
    pub fn new(state: AccountState, never_pay: bool) -> Self {
        Self { book: Book::new("acme".into(), "here", state, never_pay), changes: Vec::new() }
    }
}

impl Desk for Direct {
    fn carry_out(&mut self, now: Timestamp, command: Command) -> Outcome {
        apply(&mut self.book, now, command, &mut self.changes)
    }

    fn book(&mut self, now: Timestamp) -> Book {
        apply(&mut self.book, now, Command::Expire { limit: 32 }, &mut self.changes);
        self.book.clone()
    }
}

/// Plays a transcript; the error shows the line that was not as written. Answers every outcome that was seen.
pub fn play(transcript: &Transcript, desk: &mut impl Desk) -> Result<Vec<Outcome>, String> {
    let mut now = Timestamp(0);
    let mut seen = Vec::new();
    for line in &transcript.lines {
        let wrong = |why: String| format!("{} in {:?}\n  {}\n  {why}", line.place, transcript.title, line.text);
        match &line.what {
            What::Step(at, command, expected) => {
                now = *at;
                let outcome = desk.carry_out(now, command.clone());
                expected.check(&outcome).map_err(wrong)?;
                seen.push(outcome);
            }
            What::Balance(pool, grant, expected) => {
                let book = desk.book(now);
                let found = book.fund(pool, *grant).map(|fund| fund.balance);
                if found.as_ref() != Some(expected) {
                    return Err(wrong(format!("found {found:?}")));
                }
            }
            What::Pool(pool, expected) => {
                let book = desk.book(now);
                let found = book.pools.get(pool).map(|pool| PoolCheck {
                    switch: pool.switch,
                    billed: pool.billed,
                    overran: pool.overran,
                    closed: pool.closed,
                });
                if found.as_ref() != Some(expected) {
                    return Err(wrong(format!("found {found:?}")));
                }
            }
            What::Hold(id, state, lines) => {
                let book = desk.book(now);
                let found = book.holds.get(id).map(|hold| {
                    let lines: Vec<_> = hold.lines.iter().map(|line| (line.grant, line.amount)).collect();
                    (hold.state, lines)
                });
                if found.as_ref() != Some(&(*state, lines.clone())) {
                    return Err(wrong(format!("found {found:?}")));
                }
            }
        }
    }
    Ok(seen)
}

/// All transcripts.
pub fn transcripts() -> Vec<Transcript> {
    let files = [
        ("plain.book", include_str!("book/plain.book")),
        ("grants.book", include_str!("book/grants.book")),
        ("paid.book", include_str!("book/paid.book")),
        ("unknown.book", include_str!("book/unknown.book")),
        ("overrun.book", include_str!("book/overrun.book")),
        ("switch.book", include_str!("book/switch.book")),
        ("account.book", include_str!("book/account.book")),
        ("operator.book", include_str!("book/operator.book")),
    ];
    files.iter().flat_map(|(name, text)| parse::parse(name, text)).collect()
}
