//! One notice and its words.

use serde::Serialize;

use crate::ledger::{AccountId, Amount, GrantId, PoolId, Timestamp, Unit};

/// What was passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "mark", content = "value")]
pub enum Mark {
    /// This much or less is left, in percent.
    Remaining(u8),
    /// Nothing is left.
    UsedUp,
    /// It ends within so many days.
    Ending(u32),
    /// Nothing was passed: somebody tries the channel.
    Test,
}

impl Mark {
    /// Its name, for a note and for a webhook's type.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Remaining(percent) => format!("remaining-{percent}"),
            Self::UsedUp => "used-up".to_owned(),
            Self::Ending(days) => format!("ending-{days}"),
            Self::Test => "test".to_owned(),
        }
    }
}

/// A notice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Notice {
    /// What was passed.
    #[serde(flatten)]
    pub mark: Mark,
    /// Whose grant.
    pub account: AccountId,
    /// Its pool.
    pub pool: PoolId,
    /// The models that draw on it.
    pub models: Vec<String>,
    /// The grant.
    pub grant: GrantId,
    /// What it counts.
    pub unit: Unit,
    /// How much it was.
    pub granted: Amount,
    /// How much is left, calls in progress not counted.
    pub left: i64,
    /// When it ends.
    pub ends: Option<String>,
    /// When this was seen.
    pub at: String,
}

impl Notice {
    /// A trial of the channels.
    #[must_use]
    pub fn test(at: Timestamp) -> Self {
        Self {
            mark: Mark::Test,
            account: "test".into(),
            pool: "test".into(),
            models: Vec::new(),
            grant: GrantId(0),
            unit: Unit::Tokens,
            granted: 0,
            left: 0,
            ends: None,
            at: shown(at),
        }
    }

    /// The name under which it is claimed: the same on every replica.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}/{}/{}", self.account, self.pool, self.grant.0, self.mark.name())
    }

    /// One line.
    #[must_use]
    pub fn subject(&self) -> String {
        let (account, models) = (&self.account, self.models.join(", "));
        match self.mark {
            Mark::Remaining(percent) => format!("Free quota of {models}: {percent} % or less is left ({account})"),
            Mark::UsedUp => format!("Free quota of {models} is used up ({account})"),
            Mark::Ending(days) => format!("Free quota of {models} ends within {days} days ({account})"),
            Mark::Test => "Gratis can reach you here".to_owned(),
        }
    }

    /// What a person reads.
    #[must_use]
    pub fn text(&self) -> String {
        if self.mark == Mark::Test {
            return "This is a trial: nothing happened to any quota.\n".to_owned();
        }
        let unit = format!("{:?}", self.unit).to_lowercase();
        let ends = self.ends.as_deref().unwrap_or("never");
        let what = match self.mark {
            Mark::UsedUp => {
                "From now on calls are refused where the mode is free quota only, and charged where it is not."
            }
            Mark::Ending(_) => "What is left when it ends is lost.",
            Mark::Remaining(_) | Mark::Test => "Calls go on until it is used up.",
        };
        format!(
            "{}\n\nleft:    {} of {} {unit}\nends:    {ends}\naccount: {}\npool:    {} (grant {})\nseen:    {}\n\n{what}\n\
             `gratis model list --account {}` shows how all models stand.\n",
            self.subject(),
            self.left,
            self.granted,
            self.account,
            self.pool,
            self.grant.0,
            self.at,
            self.account,
        )
    }
}

/// RFC 3339 in UTC.
pub(super) fn shown(at: Timestamp) -> String {
    let stamp = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.unwrap_or(jiff::Timestamp::MAX).to_string()
}
