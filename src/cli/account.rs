//! `gratis account`.

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::client::{AdminArgs, items, of_account};
use super::out::{Column, Out};
use super::{Done, Failure};

/// Accounts.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum What {
    /// All accounts.
    List,
    /// Make an account.
    Create {
        /// Its name.
        id: String,
        /// The site whose rules apply [default: that of the configuration]
        #[arg(long)]
        site: Option<String>,
        /// Its state.
        #[arg(long, value_enum)]
        state: Option<State>,
        /// With `--state overdue`: from when on calls are refused; a date or RFC 3339.
        #[arg(long, value_name = "TIME")]
        grace_until: Option<String>,
        /// Whether every model behaves as free quota only, also those without a grant.
        #[arg(long, value_enum, default_value = "on")]
        never_pay: OnOff,
    },
    /// One account.
    Show {
        /// Its name.
        #[arg(default_value = "default")]
        id: String,
    },
    /// Change an account's state.
    SetState {
        /// The account.
        id: String,
        /// The new state.
        #[arg(value_enum)]
        state: State,
        /// With `overdue`: from when on calls are refused; a date or RFC 3339 [default: the site's grace from now]
        #[arg(long, value_name = "TIME")]
        grace_until: Option<String>,
    },
    /// Something happened to the account: its state follows.
    Event {
        /// What happened.
        #[arg(value_enum)]
        kind: Happened,
        /// The account.
        #[arg(long, default_value = "default")]
        account: String,
        /// When; a date or RFC 3339 [default: now]
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// With `topped_up`: a bill is unpaid all the same.
        #[arg(long)]
        still_unpaid: bool,
    },
    /// How the account stands, and why.
    Standing {
        /// Its name.
        #[arg(default_value = "default")]
        id: String,
    },
    /// Whether every model behaves as free quota only, also those without a grant.
    NeverPay {
        /// On: nothing can ever cost money.
        #[arg(value_enum)]
        on: OnOff,
        /// The account.
        #[arg(long, default_value = "default")]
        account: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum State {
    Active,
    Unverified,
    Overdue,
    NotActivated,
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Happened {
    Activated,
    Verified,
    ToppedUp,
    BillUnpaid,
    Closed,
}

impl Happened {
    fn name(self) -> &'static str {
        match self {
            Self::Activated => "activated",
            Self::Verified => "verified",
            Self::ToppedUp => "topped_up",
            Self::BillUnpaid => "bill_unpaid",
            Self::Closed => "closed",
        }
    }
}

/// A switch on the command line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnOff {
    On,
    Off,
}

impl OnOff {
    pub(super) fn is_on(self) -> bool {
        self == Self::On
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Unverified => "unverified",
            Self::Overdue => "overdue",
            Self::NotActivated => "not_activated",
            Self::Closed => "closed",
        }
    }
}

const COLUMNS: [Column; 8] = [
    ("ACCOUNT", "/id"),
    ("SITE", "/site"),
    ("STATE", "/state"),
    ("GRACE UNTIL", "/grace_until"),
    ("NEVER PAY", "/never_pay"),
    ("KEYS", "/keys"),
    ("GRANTS", "/grants"),
    ("OPEN HOLDS", "/open_holds"),
];

const STANDING: [Column; 8] = [
    ("ACCOUNT", "/account"),
    ("STATE", "/state/state"),
    ("ACTIVATED AT", "/activated_at"),
    ("VERIFIED", "/verified"),
    ("TOPPED UP", "/topped_up"),
    ("UNPAID SINCE", "/unpaid_since"),
    ("REFUSED BY", "/refused_by"),
    ("REFUSED FROM", "/refused_from"),
];

pub(super) fn run(args: Args, out: &mut Out<'_>) -> Done {
    let Args { what, admin } = args;
    let is_list = matches!(what, What::List);
    let is_standing = matches!(what, What::Event { .. } | What::Standing { .. });
    let answer = admin.call(async |api| match what {
        What::List => api.list("/admin/v1/accounts").await,
        What::Create { id, site, state, grace_until, never_pay } => {
            let body = json!({
                "id": id,
                "site": site,
                "state": state.map(State::name),
                "grace_until": grace_until,
                "never_pay": never_pay.is_on(),
            });
            api.send(Method::POST, "/admin/v1/accounts", &body).await
        }
        What::Show { id } => api.get(&of_account(&id, "")).await,
        What::SetState { id, state, grace_until } => {
            let body = json!({ "state": state.name(), "grace_until": grace_until });
            api.send(Method::PATCH, &of_account(&id, ""), &body).await
        }
        What::Event { kind, account, at, still_unpaid } => {
            let body = json!({ "kind": kind.name(), "at": at, "still_unpaid": still_unpaid });
            api.send(Method::POST, &of_account(&account, "/events"), &body).await
        }
        What::Standing { id } => api.get(&of_account(&id, "/standing")).await,
        What::NeverPay { on, account } => {
            api.send(Method::PATCH, &of_account(&account, ""), &json!({ "never_pay": on.is_on() })).await
        }
    })?;
    if is_standing && !admin.is_json() {
        return out.fields(&STANDING, &answer);
    }
    show(&answer, is_list, &admin, out)
}

fn show(answer: &Value, is_list: bool, admin: &AdminArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    if admin.is_json() {
        out.json(answer)
    } else if is_list {
        out.table(&COLUMNS, items(answer), "no accounts; `gratis init` or `gratis account create` makes one")
    } else {
        out.fields(&COLUMNS, answer)
    }
}
