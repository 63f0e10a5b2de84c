//! A way to tell somebody.

use std::time::Duration;

use super::Settings;
use super::mail::Mailer;
use super::notice::Notice;
use super::webhook::Webhook;
use crate::ledger::Timestamp;

/// How long one delivery may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One way to tell somebody.
pub enum Channel {
    /// A mail.
    Mail(Mailer),
    /// A POST with a signature.
    Webhook(Box<Webhook>),
}

/// What is delivered: the notice, and the id that stays the same over all attempts.
pub struct Delivery<'a> {
    /// What is said.
    pub notice: &'a Notice,
    /// The same for every attempt.
    pub id: &'a str,
    /// When this attempt is made.
    pub at: Timestamp,
}

impl Channel {
    /// The channels that are set up.
    ///
    /// # Errors
    /// A setting that cannot be used; the text says which.
    pub fn all(settings: &Settings) -> Result<Vec<Self>, String> {
        let mail = settings.mail.as_ref().map(|mail| Mailer::new(mail).map(Self::Mail));
        let webhook = settings.webhook.as_ref().map(|webhook| Webhook::new(webhook).map(Box::new).map(Self::Webhook));
        mail.into_iter().chain(webhook).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mail(_) => "mail",
            Self::Webhook(_) => "webhook",
        }
    }

    /// Where it goes, without a secret.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Mail(mailer) => mailer.place(),
            Self::Webhook(webhook) => webhook.place(),
        }
    }

    /// Delivers once.
    ///
    /// # Errors
    /// Why it was not taken; the text has no secret.
    pub async fn deliver(&self, delivery: &Delivery<'_>) -> Result<(), String> {
        let attempt = async {
            match self {
                Self::Mail(mailer) => mailer.deliver(delivery).await,
                Self::Webhook(webhook) => webhook.deliver(delivery).await,
            }
        };
        let late = || format!("not taken within {} s", PATIENCE.as_secs());
        tokio::time::timeout(PATIENCE, attempt).await.unwrap_or_else(|_| Err(late()))
    }
}
