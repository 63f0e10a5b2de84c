//! State x switch x quota x coverage: what a call gets. The expectation is written from the sources, not from the code.

use gratis::ledger::{
    AccountId, AccountState, Ask, Book, Closure, Command, HoldId, Key, KeyId, KeyState, Operation, Outcome, Overrun,
    Reserve, ReserveRules, Side, SwitchOff, Timestamp, Unit, apply,
};

const NOW: Timestamp = Timestamp(1_000_000_000);
const STATES: [&str; 6] = ["not activated", "active", "unverified", "in grace", "overdue", "closed"];
const SWITCHES: [&str; 4] = ["unset", "on", "off", "never_pay"];
const QUOTAS: [&str; 5] = ["plenty", "used up", "ended", "none", "closed by provider"];
const COVERED: [bool; 2] = [true, false];

/// What the sources say (S0:44, S0:55, S0:70, S0:88; S1:41; S2:29, S2:32, S2:58; W 1.1 for the codes).
fn expected(state: &str, switch: &str, quota: &str, covered: bool) -> &'static str {
    match state {
        "not activated" => return "AccountNotActivated",
        "closed" => return "AccountClosed",
        "overdue" => return "Arrearage",
        _ => {}
    }
    let protected = state == "unverified" || switch == "on" || switch == "never_pay";
    match (protected, covered, quota) {
        (false, _, "plenty" | "closed by provider") => "free",
        (false, ..) => "paid",
        (true, false, _) => "NotCovered",
        (true, true, "plenty") => "free",
        (true, true, "used up") => "UsedUp",
        (true, true, "ended") => "Ended",
        (true, true, "none") => "NoGrant",
        (true, true, _) => "ClosedByProvider",
    }
}

fn book(state: &str, switch: &str, quota: &str) -> Book {
    let account_state = match state {
        "not activated" => AccountState::NotActivated,
        "active" => AccountState::Active,
        "unverified" => AccountState::Unverified,
        "in grace" => AccountState::Overdue { grace_until: Timestamp(NOW.0 + 1) },
        "overdue" => AccountState::Overdue { grace_until: NOW },
        _ => AccountState::Closed,
    };
    let mut book = Book::new(AccountId::from("a"), "test", AccountState::Active, false);
    let mut operate = |at: Timestamp, operation| {
        let outcome = apply(&mut book, at, Command::Operate(operation), &mut Vec::new());
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    };
    operate(NOW, Operation::PutKey(key()));
    let grant = |spent, end| Operation::AddGrant {
        pool: "m".into(),
        side: Side::Both,
        unit: Unit::Tokens,
        amount: 1_000_000,
        spent,
        start: Timestamp(0),
        end,
    };
    // The switch is flipped while there is quota, as an operator would have done.
    if quota != "none" {
        let end = (quota == "ended").then_some(Timestamp(NOW.0 - 1));
        operate(Timestamp(1), grant(0, end));
        let flip = |on| Operation::SetSwitch { pool: "m".into(), on, rule: SwitchOff::AnyTime, default_on: false };
        match switch {
            "on" => operate(Timestamp(1), flip(true)),
            "off" => operate(Timestamp(1), flip(false)),
            _ => {}
        }
    }
    match quota {
        "used up" => operate(
            NOW,
            Operation::Sync { pool: "m".into(), grant: gratis::ledger::GrantId(1), remaining: 0, raise: false },
        ),
        "closed by provider" => operate(NOW, Operation::ClosePool { pool: "m".into(), closure: Closure::FreeTierOnly }),
        _ => {}
    }
    operate(NOW, Operation::SetNeverPay(switch == "never_pay"));
    operate(NOW, Operation::SetState(account_state));
    book
}

fn key() -> Key {
    Key {
        id: KeyId::from("k"),
        name: String::new(),
        state: KeyState::Active,
        models: Default::default(),
        workspace: None,
        last4: "0000".into(),
        created: Timestamp(0),
    }
}

fn call(book: &mut Book, covered: bool) -> String {
    let reserve = Reserve {
        hold: HoldId(7),
        key: KeyId::from("k"),
        model: "m".into(),
        pool: "m".into(),
        ask: Ask { input: 100, ..Ask::default() },
        lease_ms: 600_000,
        max_call_ms: 1_000,
        caller_now: NOW,
        rules: ReserveRules { overrun: Overrun::Never, switch_default_on: false, priced: true, bounded: true, covered },
    };
    match apply(book, NOW, Command::Reserve(reserve), &mut Vec::new()) {
        Outcome::Admitted(admitted) if admitted.may_cost => "paid".to_owned(),
        Outcome::Admitted(_) => "free".to_owned(),
        Outcome::Refused(refusal, _) => format!("{refusal:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_gets_what_the_sources_say() {
    let mut wrong = Vec::new();
    let mut rows = 0;
    println!("{:15} {:10} {:20} {:8} {:20}", "state", "switch", "quota", "covered", "a call gets");
    for state in STATES {
        for switch in SWITCHES {
            for quota in QUOTAS {
                // A pool without a grant has no switch that could be on or off.
                if quota == "none" && matches!(switch, "on" | "off") {
                    continue;
                }
                for covered in COVERED {
                    let mut book = book(state, switch, quota);
                    let got = call(&mut book, covered);
                    let wanted = expected(state, switch, quota, covered);
                    println!("{state:15} {switch:10} {quota:20} {covered:8} {got:20}");
                    rows += 1;
                    if got != wanted {
                        wrong.push(format!("{state}, {switch}, {quota}, covered {covered}: {got}, not {wanted}"));
                    }
                }
            }
        }
    }
    assert_eq!(rows, 216);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
