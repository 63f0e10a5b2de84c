//! Mistakes that are made on purpose: the simulation has to find every one.

use gratis::ledger::{Amount, Book, Command, HoldId, HoldState, Outcome, Resolution, Timestamp, Usage, apply};

use crate::calm::Invariant;

/// A mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A call whose reservation nobody answered is sent all the same.
    SendsUnasked,
    /// A call that broke off is sent again.
    SendsAgain,
    /// A call that began too late is sent.
    SendsLate,
    /// A reply that tells no usage counts as free.
    CutIsFree,
    /// The usage that was seen before a reply broke off counts as all of it.
    PartIsAll,
    /// A settlement posts the whole hold.
    SettlesAtTheHold,
    /// A hold whose lease ran out is given back.
    ExpiryGivesBack,
    /// A hold whose lease ran out stays.
    NothingExpires,
    /// What is resolved is forgotten at once, so that a repeat is not recognised.
    FinalsForgotten,
    /// A reservation does not see what is held.
    HeldIgnored,
    /// The end of a grant is judged by the store's clock alone.
    OneClock,
    /// The embedded store admits before its commit.
    AnswersBeforeCommit,
    /// The embedded store answers before a higher watermark is durable.
    WatermarkBehind,
    /// After a power loss the watermark is not looked at.
    WatermarkIgnored,
    /// A restart gives back the holds that it finds open.
    RestartGivesBack,
    /// An entry is lost on its way to the books.
    EntryLost,
    /// A tenth of a grant cannot be used.
    SomeIsKeptBack,
}

/// Every mistake, and the invariants by which it may show first.
pub const BUGS: [(Bug, &[Invariant]); 17] = {
    use Invariant::{BookedOnce, Covered, Exact, FoldOfEntries, NothingStaysHeld, Overspent, SentOnce, UsedUp};
    [
        (Bug::SendsUnasked, &[Covered, Overspent, BookedOnce]),
        (Bug::SendsAgain, &[SentOnce, Covered, Overspent]),
        (Bug::SendsLate, &[Overspent]),
        (Bug::CutIsFree, &[Covered, BookedOnce]),
        (Bug::PartIsAll, &[Covered, BookedOnce]),
        (Bug::SettlesAtTheHold, &[BookedOnce, Exact]),
        (Bug::ExpiryGivesBack, &[Covered, Overspent, BookedOnce]),
        (Bug::NothingExpires, &[NothingStaysHeld]),
        (Bug::FinalsForgotten, &[BookedOnce]),
        (Bug::HeldIgnored, &[Overspent]),
        (Bug::OneClock, &[Overspent]),
        (Bug::AnswersBeforeCommit, &[Covered]),
        (Bug::WatermarkBehind, &[Covered]),
        (Bug::WatermarkIgnored, &[Covered]),
        (Bug::RestartGivesBack, &[Covered]),
        (Bug::EntryLost, &[FoldOfEntries]),
        (Bug::SomeIsKeptBack, &[UsedUp]),
    ]
};

/// What is hidden from the rules while a command is carried out, and put back after it.
#[derive(Default)]
pub struct Hidden {
    held: Vec<Amount>,
    kept_back: Amount,
}

/// Bends the book or the command before the rules see them.
pub fn before(bug: Bug, book: &mut Book, now: Timestamp, command: &mut Command) -> Hidden {
    let mut hidden = Hidden::default();
    match (bug, command) {
        (Bug::ExpiryGivesBack, _) => give_back(book, now),
        (Bug::NothingExpires, _) => book.due.clear(),
        (Bug::HeldIgnored, Command::Reserve(_)) => {
            for fund in book.pools.values_mut().flat_map(|pool| &mut pool.grants) {
                hidden.held.push(std::mem::take(&mut fund.balance.held));
            }
        }
        (Bug::SomeIsKeptBack, Command::Reserve(_)) => {
            hidden.kept_back = 10;
            for fund in book.pools.values_mut().flat_map(|pool| &mut pool.grants) {
                hidden.held.push(fund.balance.granted);
                fund.balance.granted -= (fund.balance.granted / 10 + 2).min(fund.balance.granted);
            }
        }
        (Bug::OneClock, Command::Reserve(reserve)) => reserve.caller_now = Timestamp(0),
        (Bug::SettlesAtTheHold, Command::Resolve { hold, resolution: Resolution::Settle(usage), .. }) => {
            let amount = book.holds.get(hold).map_or(usage.total(), |hold| hold.amount);
            *usage = Usage { input: usage.input.min(amount), output: amount - usage.input.min(amount) };
        }
        _ => {}
    }
    hidden
}

fn give_back(book: &mut Book, now: Timestamp) {
    let due: Vec<HoldId> = book.due.iter().filter(|(at, _)| *at <= now).map(|(_, hold)| *hold).collect();
    for hold in due {
        let release = Command::Resolve { hold, resolution: Resolution::Release, origin: None };
        // Just before the deadline it is still open.
        apply(book, Timestamp(0), release, &mut Vec::new());
    }
}

/// Puts back what was hidden, and bends what came of it.
pub fn after(bug: Bug, book: &mut Book, hidden: &Hidden, outcome: &Outcome) {
    let funds = book.pools.values_mut().flat_map(|pool| &mut pool.grants);
    for (fund, before) in funds.zip(&hidden.held) {
        if hidden.kept_back > 0 {
            fund.balance.granted = *before;
        } else {
            fund.balance.held += before;
        }
    }
    if bug == Bug::FinalsForgotten && matches!(outcome, Outcome::Resolved(_)) {
        book.holds.retain(|_, hold| !matches!(hold.state, HoldState::Settled | HoldState::Corrected));
    }
}
