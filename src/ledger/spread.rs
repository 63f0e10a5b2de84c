//! Where usage goes: which grants pay for it, and what is billed beside them.

use super::balance::signed;
use super::book::{BillingMode, Book, Fund, Hold, HoldState, Line};
use super::command::Usage;
use super::ids::{Amount, GrantId, Timestamp};
use super::plan::Pays;

/// Where usage goes: what each grant pays, and what none of them does.
#[derive(Default)]
pub(super) struct Spread {
    pub(super) credits: Vec<Line>,
    pub(super) covered: Usage,
    pub(super) billed: Usage,
}

/// Distributes usage, input before output: the hold's own lines first, then whatever else is available. What is left over goes,
/// in free quota only, to the last grant that pays for it, also below zero; otherwise it is billed (LEDGER 2).
pub(super) fn spread(book: &Book, now: Timestamp, hold: &Hold, usage: Usage) -> Spread {
    let Some(pool) = book.pools.get(&hold.pool) else {
        return Spread { billed: usage, ..Spread::default() };
    };
    let mut paying = Paying { funds: &pool.grants, hold, now, own: hold.lines.clone(), credits: Vec::with_capacity(1) };
    let input = paying.take(usage.input, Fund::pays_input);
    let output = paying.take(usage.output, Fund::pays_output);
    let covered = match hold.mode {
        BillingMode::FreeQuotaOnly => Usage {
            input: usage.input - paying.below_zero(input, Fund::pays_input),
            output: usage.output - paying.below_zero(output, Fund::pays_output),
        },
        BillingMode::PayAsYouGo => Usage { input: usage.input - input, output: usage.output - output },
    };
    let billed = Usage { input: usage.input - covered.input, output: usage.output - covered.output };
    Spread { credits: paying.credits, covered, billed }
}

/// One distribution: `own` is what is left of the hold's lines, `credits` what was given to each grant so far.
struct Paying<'a> {
    funds: &'a [Fund],
    hold: &'a Hold,
    now: Timestamp,
    own: Vec<Line>,
    credits: Vec<Line>,
}

impl Paying<'_> {
    /// Takes `amount` from what pays for one side; answers what did not fit.
    fn take(&mut self, amount: Amount, pays: Pays) -> Amount {
        // The lines stand in the order in which they were drawn, the input's first: usage within the hold always fits them.
        let left = self.take_own(amount, pays);
        if left == 0 { 0 } else { self.take_available(left, pays) }
    }

    fn take_own(&mut self, mut amount: Amount, pays: Pays) -> Amount {
        for line in &mut self.own {
            let Some(fund) = self.funds.iter().find(|fund| fund.grant.id == line.grant && pays(fund)) else { continue };
            let part = amount.min(line.amount).min(limit(fund, self.hold, &self.credits));
            line.amount -= part;
            amount -= part;
            credit(&mut self.credits, line.grant, part);
        }
        amount
    }

    /// The hold's lines still count against `available`, which leaves exactly what nobody else has set aside.
    fn take_available(&mut self, mut amount: Amount, pays: Pays) -> Amount {
        for fund in self.funds.iter().filter(|fund| pays(fund) && alive(fund, self.now, self.hold)) {
            let beyond_own =
                amount_of(&self.credits, fund.grant.id).saturating_sub(amount_of(&self.hold.lines, fund.grant.id));
            let part = amount.min(positive(fund.balance.available()).saturating_sub(beyond_own));
            amount -= part;
            credit(&mut self.credits, fund.grant.id, part);
        }
        amount
    }

    /// Records what nothing is left for, against the last grant that the hold names, or else the last that is valid now, or else
    /// the last. Answers what no grant of the pool pays for.
    fn below_zero(&mut self, amount: Amount, pays: Pays) -> Amount {
        if amount == 0 {
            return 0;
        }
        let mut paying = self.funds.iter().rev().filter(|fund| pays(fund));
        let last = paying
            .clone()
            .find(|fund| names(self.hold, fund))
            .or_else(|| paying.clone().find(|fund| alive(fund, self.now, self.hold)))
            .or_else(|| paying.next());
        let Some(fund) = last else { return amount };
        credit(&mut self.credits, fund.grant.id, amount);
        0
    }
}

/// The most that a hold may use of its own line. Pay-as-you-go covers no more than the grant still has: where it was lowered
/// meanwhile the rest is billed. Free quota only has nowhere else to go.
fn limit(fund: &Fund, hold: &Hold, credits: &[Line]) -> Amount {
    match hold.mode {
        BillingMode::FreeQuotaOnly => Amount::MAX,
        BillingMode::PayAsYouGo => {
            let line = amount_of(&hold.lines, fund.grant.id);
            let left = positive(fund.balance.available().saturating_add(signed(line)));
            left.saturating_sub(amount_of(credits, fund.grant.id))
        }
    }
}

fn names(hold: &Hold, fund: &Fund) -> bool {
    hold.lines.iter().any(|line| line.grant == fund.grant.id)
}

/// Whether usage may be posted here: the hold names it, or it is valid now.
fn alive(fund: &Fund, now: Timestamp, hold: &Hold) -> bool {
    names(hold, fund) || (fund.grant.start <= now && fund.grant.end.is_none_or(|end| now < end))
}

fn positive(amount: i64) -> Amount {
    Amount::try_from(amount).unwrap_or(0)
}

fn credit(credits: &mut Vec<Line>, grant: GrantId, amount: Amount) {
    if amount == 0 {
        return;
    }
    match credits.iter_mut().find(|line| line.grant == grant) {
        Some(line) => line.amount = line.amount.saturating_add(amount),
        None => credits.push(Line { grant, amount }),
    }
}

/// What was billed for a hold when it was presumed (see [`Hold::amount`]).
pub(super) fn billed_before(hold: &Hold) -> Amount {
    match (hold.state, hold.mode) {
        (HoldState::Presumed, BillingMode::PayAsYouGo) => hold.amount.saturating_sub(sum_of(&hold.lines)),
        (
            HoldState::Open | HoldState::Presumed | HoldState::Settled | HoldState::Released | HoldState::Corrected,
            BillingMode::FreeQuotaOnly | BillingMode::PayAsYouGo,
        ) => 0,
    }
}

pub(super) fn sum_of(lines: &[Line]) -> Amount {
    lines.iter().map(|line| line.amount).sum()
}

pub(super) fn amount_of(lines: &[Line], grant: GrantId) -> Amount {
    lines.iter().find(|line| line.grant == grant).map_or(0, |line| line.amount)
}
