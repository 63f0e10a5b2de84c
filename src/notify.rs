//! Notices: what is left of a grant passes a mark, or a grant nears its end, and somebody is told (E5).
//!
//! The watch looks at the books from time to time; it is on no call's path. A crossing is claimed among the notes before anyone is
//! told, so that of several replicas one tells, and once: a claim is of one attempt, and a failed attempt leaves the next one to
//! whoever comes first. Where a process dies between the telling and its note, the next attempt carries the same id, by which a
//! receiver of webhooks knows it.

mod channel;
mod crossing;
mod mail;
mod notice;
mod watch;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

pub use channel::{Channel, Delivery};
pub use crossing::{Choice, crossings};
pub use mail::{MailSettings, MailTls};
pub use notice::{Mark, Notice};
pub use watch::Notifier;
pub use webhook::{WebhookSettings, sign};

use crate::catalogue::{Catalogue, Site};

/// How notices are sent. Holds secrets, so it has no `Debug`.
#[derive(Clone)]
pub struct Settings {
    /// How often the books are looked at.
    pub check_every: Duration,
    /// Mail, where it is set up.
    pub mail: Option<MailSettings>,
    /// A webhook, where it is set up.
    pub webhook: Option<WebhookSettings>,
}

/// What the watch knows of models and sites, as it is at this moment.
#[derive(Clone)]
pub struct Known {
    /// The models.
    pub catalogue: Arc<Catalogue>,
    /// The sites.
    pub sites: Vec<Arc<Site>>,
}
