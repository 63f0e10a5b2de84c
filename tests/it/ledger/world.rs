//! A small world: one grant, three calls, a proxy that may die, an upstream that charges what it likes within the bound.

use gratis::ledger::{
    AccountState, Balance, Book, Change, Command, Entry, GrantId, HoldId, HoldState, Key, KeyState, Operation, Origin,
    Outcome, Resolution, Side, SwitchOff, Timestamp, Unit, Usage,
};

use super::bugs::{Bug, carry_out};
use super::state::request;

pub const CALLS: usize = 3;
pub const GRANTED: u64 = 10;
/// A tick: as long as a lease, and as long as the longest call.
pub const TICK: u64 = 1_000;
/// The grant ends here.
pub const END: u64 = 3;
/// Each call asks for this: input, and output of which the third call takes less where less is left.
pub const INPUT: u64 = 1;
pub const OUTPUT: u64 = 3;
/// What an upstream without a sound bound charges beyond it.
const BEYOND: u64 = 2;

/// Which things can happen in the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One process: after a crash the restart posts every open hold.
    Embedded,
    /// Many processes: after a crash the leases of the dead one run out.
    Replicas,
    /// The upstream may charge more than the bound; nothing crashes.
    Unsound,
    /// An operator edits the grant; nothing crashes.
    Edited,
}

impl Kind {
    /// How far the clock goes: past the end of the grant, or just past the leases.
    fn last_tick(self) -> u64 {
        match self {
            Self::Embedded | Self::Replicas => END,
            Self::Unsound | Self::Edited => END - 1,
        }
    }
}

/// What the proxy knows of a call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Proxy {
    Idle,
    /// Admitted, up to this bound.
    Holding(u64),
    /// Cut: presumed; the figure may still come.
    Cut(u64),
    /// The proxy died; the figure may still come out of its journal.
    Lost(u64),
    Settled,
    Released,
    /// The answer to the reservation did not come in time; nothing was sent upstream, the release is still to be sent.
    Unsure,
    /// It died before it released.
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Call {
    pub proxy: Proxy,
    /// What the upstream charged.
    pub charged: Option<u64>,
    /// The last tick at which the upstream can still charge it; 0 when it no longer matters.
    pub until: u64,
    /// A reservation that is still on its way to the store.
    pub delayed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Reserve(usize),
    SendDelayed(usize),
    Arrive(usize),
    Charge(usize, u64),
    Settle(usize),
    SettleAgain(usize),
    Release(usize),
    Cut(usize),
    Crash,
    Expire,
    Regrant(u64),
    Tick,
}

#[derive(Clone)]
pub struct World {
    pub book: Book,
    /// The fold of every entry that was written.
    pub folded: Balance,
    pub now: u64,
    pub calls: [Call; CALLS],
    /// What the upstream charged in all.
    pub truth: u64,
    /// Whether a call was cut, lost or outlived its lease, so that truth and spent may differ.
    pub cut: bool,
}

pub const POOL: &str = "m";

impl World {
    pub fn new(kind: Kind) -> Self {
        let call = Call { proxy: Proxy::Idle, charged: None, until: 0, delayed: false };
        let state = AccountState::Active;
        let book = Book::new("acme".into(), "here", state, kind != Kind::Edited);
        let mut world = Self { book, folded: Balance::default(), now: 0, calls: [call; CALLS], truth: 0, cut: false };
        let key = Key {
            id: "k".into(),
            name: String::new(),
            state: KeyState::Active,
            models: [].into(),
            workspace: None,
            last4: String::new(),
            created: Timestamp(0),
        };
        let (pool, start, end) = (POOL.into(), Timestamp(0), Some(Timestamp(END * TICK)));
        let (side, unit, amount, spent) = (Side::Both, Unit::Tokens, GRANTED, 0);
        let switch = Operation::SetSwitch { pool: POOL.into(), on: true, rule: SwitchOff::AnyTime, default_on: false };
        let grant = Operation::AddGrant { pool, side, unit, amount, spent, start, end };
        for operation in [Operation::PutKey(key), grant, switch] {
            world.tell(None, Command::Operate(operation));
        }
        world
    }

    pub fn balance(&self) -> Balance {
        self.book.fund(&POOL.into(), GrantId(1)).expect("the grant").balance
    }

    pub fn hold(&self, call: usize) -> Option<&gratis::ledger::Hold> {
        self.book.holds.get(&id(call))
    }

    /// Everything that can happen now.
    pub fn actions(&self, kind: Kind) -> Vec<Action> {
        let mut actions = Vec::with_capacity(16);
        for (number, call) in self.calls.iter().enumerate() {
            self.actions_of(kind, number, call, &mut actions);
        }
        let crashes = matches!(kind, Kind::Embedded | Kind::Replicas);
        if crashes && self.calls.iter().any(|call| matches!(call.proxy, Proxy::Holding(_) | Proxy::Unsure)) {
            actions.push(Action::Crash);
        }
        if self.book.due.first().is_some_and(|(deadline, _)| deadline.0 <= self.now * TICK) {
            actions.push(Action::Expire);
        }
        if kind == Kind::Edited {
            actions.extend([7, 12].into_iter().filter(|to| *to != self.balance().granted).map(Action::Regrant));
        }
        if self.now < kind.last_tick() {
            actions.push(Action::Tick);
        }
        actions
    }

    fn actions_of(&self, kind: Kind, number: usize, call: &Call, actions: &mut Vec<Action>) {
        if call.delayed {
            actions.push(Action::Arrive(number));
        }
        match call.proxy {
            Proxy::Idle => {
                actions.push(Action::Reserve(number));
                // One call is enough to see what a message out of order does.
                if number == CALLS - 1 {
                    actions.push(Action::SendDelayed(number));
                }
            }
            Proxy::Holding(bound) | Proxy::Cut(bound) | Proxy::Lost(bound) => {
                if call.charged.is_none() && self.now <= call.until {
                    let beyond = (kind == Kind::Unsound).then_some(bound + BEYOND);
                    actions
                        .extend([0, 1, bound].into_iter().chain(beyond).map(|charge| Action::Charge(number, charge)));
                }
                if call.charged.is_some() {
                    actions.push(Action::Settle(number));
                }
                if matches!(call.proxy, Proxy::Holding(_)) {
                    if kind != Kind::Edited {
                        actions.push(Action::Cut(number));
                    }
                    if call.charged.is_none_or(|charged| charged == 0) {
                        actions.push(Action::Release(number));
                    }
                }
            }
            Proxy::Settled => actions.push(Action::SettleAgain(number)),
            Proxy::Unsure => actions.push(Action::Release(number)),
            Proxy::Released | Proxy::Gone => {}
        }
    }

    /// Carries out an action; answers what the ledger said, last.
    pub fn act(&mut self, kind: Kind, bug: Option<Bug>, action: Action) -> Option<Outcome> {
        match action {
            Action::Reserve(number) => {
                let outcome = self.reserve(bug, number);
                if let Outcome::Admitted(admitted) = &outcome {
                    self.calls[number].proxy = Proxy::Holding(admitted.input + admitted.output);
                    self.calls[number].until = self.now + 1;
                }
                Some(outcome)
            }
            Action::SendDelayed(number) => {
                (self.calls[number].proxy, self.calls[number].delayed) = (Proxy::Unsure, true);
                None
            }
            Action::Arrive(number) => {
                self.calls[number].delayed = false;
                Some(self.reserve(bug, number))
            }
            Action::Charge(number, amount) => {
                (self.calls[number].charged, self.calls[number].until) = (Some(amount), 0);
                self.truth += amount;
                None
            }
            Action::Settle(number) | Action::SettleAgain(number) => {
                self.calls[number].proxy = Proxy::Settled;
                let charged = self.calls[number].charged.expect("a charge");
                let input = charged.min(INPUT);
                Some(self.resolve(bug, number, Resolution::Settle(Usage { input, output: charged - input })))
            }
            Action::Release(number) => {
                (self.calls[number].proxy, self.calls[number].until) = (Proxy::Released, 0);
                Some(self.resolve(bug, number, Resolution::Release))
            }
            Action::Cut(number) => {
                if let Proxy::Holding(bound) = self.calls[number].proxy {
                    self.calls[number].proxy = Proxy::Cut(bound);
                }
                self.cut = true;
                Some(self.resolve(bug, number, Resolution::Presume(None)))
            }
            Action::Crash => self.crash(kind, bug),
            Action::Expire => Some(self.tell(bug, Command::Expire { limit: 1 })),
            Action::Regrant(amount) => {
                let regrant = Operation::Regrant { pool: POOL.into(), grant: GrantId(1), amount };
                Some(self.tell(bug, Command::Operate(regrant)))
            }
            Action::Tick => {
                self.now += 1;
                None
            }
        }
    }

    fn crash(&mut self, kind: Kind, bug: Option<Bug>) -> Option<Outcome> {
        self.cut = true;
        for call in &mut self.calls {
            if let Proxy::Holding(bound) = call.proxy {
                call.proxy = Proxy::Lost(bound);
            } else if call.proxy == Proxy::Unsure {
                call.proxy = Proxy::Gone;
            }
        }
        let open = |number: &usize| self.hold(*number).is_some_and(|hold| hold.state == HoldState::Open);
        let open: Vec<usize> = if kind == Kind::Embedded { (0..CALLS).filter(open).collect() } else { Vec::new() };
        open.into_iter().map(|number| self.resolve(bug, number, Resolution::Presume(None))).last()
    }

    fn reserve(&mut self, bug: Option<Bug>, number: usize) -> Outcome {
        self.tell(bug, Command::Reserve(request(number, self.now)))
    }

    fn resolve(&mut self, bug: Option<Bug>, number: usize, resolution: Resolution) -> Outcome {
        let origin = Some(Origin { key: "k".into(), model: POOL.into(), pool: POOL.into() });
        self.tell(bug, Command::Resolve { hold: id(number), resolution, origin })
    }

    pub fn tell(&mut self, bug: Option<Bug>, command: Command) -> Outcome {
        let open = self.book.due.len();
        let mut changes = Vec::new();
        let outcome = carry_out(bug, &mut self.book, Timestamp(self.now * TICK), command, &mut changes);
        for change in &changes {
            if let Change::Entry(entry) = change {
                fold(&mut self.folded, entry);
            }
        }
        self.cut |= open > 0 && self.book.holds.values().any(|hold| hold.state == HoldState::Presumed);
        outcome
    }
}

fn fold(balance: &mut Balance, entry: &Entry) {
    balance.granted = balance.granted.wrapping_add_signed(entry.granted);
    balance.held = balance.held.wrapping_add_signed(entry.held);
    balance.spent = balance.spent.wrapping_add_signed(entry.spent);
    balance.presumed = balance.presumed.wrapping_add_signed(entry.presumed);
}

pub fn id(call: usize) -> HoldId {
    HoldId(call as u128 + 1)
}
