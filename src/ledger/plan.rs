//! What a reservation sets aside: which grants, how much of each, and how far a call is made smaller.

use super::balance::{Balance, Side};
use super::book::{Fund, Line};
use super::command::Ask;
use super::ids::Amount;
use super::outcome::Refusal;

/// Which side of a call a fund is asked to pay for.
pub(super) type Pays = fn(&Fund) -> bool;

/// What is held: the lines, and the bounds that they carry.
pub(super) struct Plan {
    pub(super) lines: Vec<Line>,
    pub(super) input: Amount,
    pub(super) output: Amount,
    pub(super) amount: Amount,
}

impl Ask {
    /// The whole output that the request may have.
    pub(super) fn open_output(&self) -> Amount {
        self.named.saturating_add(self.silent)
    }

    /// The least output with which the call goes on: a call with an output is never let through with none.
    pub(super) fn least(&self) -> Amount {
        self.least.max(Amount::from(self.open_output() > 0))
    }

    /// The output that is asked for where `available` is left: what was named, and a share for what was not.
    fn output(&self, available: Amount) -> Amount {
        let share = match available.checked_div(self.share_of) {
            Some(part) => part.max(self.share_floor),
            None => self.silent,
        };
        self.named.saturating_add(self.silent.min(share)).max(self.least())
    }

    /// The same call, held at the most that the model can ever cost.
    pub(super) fn at_ceiling(&self) -> Self {
        Self {
            input: self.input.max(self.ceiling_input),
            named: self.ceiling_output.max(self.open_output()),
            silent: 0,
            least: self.ceiling_output.max(self.open_output()),
            ..*self
        }
    }
}

/// The plan that fits, soonest-ending grants first, or none. Where input and output compete for a grant that pays for both, the
/// input first uses up what pays for input alone.
pub(super) fn fit(funds: &[&Fund], ask: &Ask, left: fn(&Fund) -> Amount) -> Option<Plan> {
    let rooms = || funds.iter().map(|fund| left(fund)).collect::<Vec<Amount>>();
    let first = rooms();
    let output = ask.output(rooms_of(funds, &first, Fund::pays_output));
    let plan = fit_in_order(funds, first, ask, output, &[Fund::pays_input]);
    if plan.as_ref().is_some_and(|plan| plan.output == output) || !funds.iter().any(|fund| fund.pays_input_alone()) {
        return plan;
    }
    fit_in_order(funds, rooms(), ask, output, &[Fund::pays_input_alone, Fund::pays_input])
}

fn fit_in_order(funds: &[&Fund], mut rooms: Vec<Amount>, ask: &Ask, output: Amount, order: &[Pays]) -> Option<Plan> {
    let mut lines = Vec::with_capacity(1);
    let input_left = order.iter().fold(ask.input, |left, pays| draw(funds, &mut rooms, &mut lines, left, *pays));
    let output = output.min(rooms_of(funds, &rooms, Fund::pays_output));
    if input_left != 0 || output < ask.least() {
        return None;
    }
    draw(funds, &mut rooms, &mut lines, output, Fund::pays_output);
    Some(Plan { lines, input: ask.input, output, amount: ask.input + output })
}

fn rooms_of(funds: &[&Fund], rooms: &[Amount], pays: Pays) -> Amount {
    funds.iter().zip(rooms).filter(|(fund, _)| pays(fund)).map(|(_, room)| *room).sum()
}

/// The platform's own behaviour: whoever starts with something left may finish.
pub(super) fn last_call(funds: &[&Fund], ask: &Ask) -> Result<Plan, Refusal> {
    let sides: [(Amount, Pays); 2] = [(ask.input, Fund::pays_input), (ask.open_output(), Fund::pays_output)];
    let lacks = |left: fn(&Balance) -> i64| {
        sides
            .iter()
            .filter(|(amount, _)| *amount > 0)
            .any(|(_, pays)| !funds.iter().any(|fund| pays(fund) && left(&fund.balance) > 0))
    };
    if lacks(Balance::unspent) {
        return Err(Refusal::UsedUp);
    }
    if lacks(Balance::available) {
        return Err(Refusal::Busy);
    }
    Ok(as_far_as_it_goes(funds, ask))
}

/// Lines for as much as is available; the amount is the whole ask.
pub(super) fn as_far_as_it_goes(funds: &[&Fund], ask: &Ask) -> Plan {
    let mut rooms: Vec<Amount> =
        funds.iter().map(|fund| u64::try_from(fund.balance.available()).unwrap_or(0)).collect();
    let mut lines = Vec::with_capacity(1);
    let output = ask.open_output();
    draw(funds, &mut rooms, &mut lines, ask.input, Fund::pays_input);
    draw(funds, &mut rooms, &mut lines, output, Fund::pays_output);
    Plan { lines, input: ask.input, output, amount: ask.input + output }
}

impl Fund {
    pub(super) fn pays_input(&self) -> bool {
        match self.grant.side {
            Side::Both | Side::Input => true,
            Side::Output => false,
        }
    }

    fn pays_input_alone(&self) -> bool {
        self.pays_input() && !self.pays_output()
    }

    pub(super) fn pays_output(&self) -> bool {
        match self.grant.side {
            Side::Both | Side::Output => true,
            Side::Input => false,
        }
    }
}

/// Takes `amount` from the funds that pay for it, soonest-ending first; answers what did not fit.
fn draw(funds: &[&Fund], rooms: &mut [Amount], lines: &mut Vec<Line>, mut amount: Amount, pays: Pays) -> Amount {
    for (fund, room) in funds.iter().zip(rooms).filter(|(fund, _)| pays(fund)) {
        let part = amount.min(*room);
        if part > 0 {
            *room -= part;
            amount -= part;
            add_line(lines, Line { grant: fund.grant.id, amount: part });
        }
    }
    amount
}

fn add_line(lines: &mut Vec<Line>, line: Line) {
    match lines.iter_mut().find(|known| known.grant == line.grant) {
        Some(known) => known.amount += line.amount,
        None => lines.push(line),
    }
}
