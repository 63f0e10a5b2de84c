//! What a new ledger holds: an account, its grants, its first key.

use std::collections::BTreeSet;

use super::ACCOUNT;
use super::plan::Planned;
use crate::cli::Failure;
use crate::ledger::{AccountId, AccountState, Done, Key, KeyId, KeyState, Outcome};
use crate::store::keys::{NewKeySecret, Pepper, new_id, new_key};
use crate::store::{NewAccount, Store, StoreError};

/// What was made. Holds a secret, so it has no `Debug`.
pub struct Furnished {
    /// The account.
    pub account: AccountId,
    /// Its first key's name.
    pub key: KeyId,
    /// The key itself, to be shown once.
    pub secret: NewKeySecret,
}

/// Makes the account with never_pay on, its grants and its first key: `known`, or else a new one.
///
/// # Errors
/// When the account exists, or the store does not do what it is asked.
pub async fn furnish(
    store: &dyn Store,
    pepper: &Pepper,
    site: &str,
    grants: &[Planned],
    known: Option<NewKeySecret>,
) -> Result<Furnished, Failure> {
    let account = AccountId::from(ACCOUNT);
    let new =
        NewAccount { account: account.clone(), site: site.to_owned(), state: AccountState::Active, never_pay: true };
    if !store.open_account(new).await.map_err(failed)? {
        return Err(Failure::Refused(format!("there is an account `{account}` already")));
    }
    for grant in grants {
        let outcome = store.operate(&account, grant.operation()).await.map_err(failed)?;
        if !matches!(outcome, Outcome::Done(Done::GrantAdded(_))) {
            return Err(Failure::Refused(format!("the grant of {} was not made: {outcome:?}", grant.model)));
        }
    }
    let secret = match known {
        Some(known) => known,
        None => new_key(pepper).map_err(|error| Failure::Refused(error.to_string()))?.0,
    };
    let (digest, last4) = secret.kept(pepper);
    let id = KeyId::from(new_id("key-").map_err(|error| Failure::Refused(error.to_string()))?);
    let key = Key {
        id: id.clone(),
        name: "first key".to_owned(),
        state: KeyState::Active,
        models: BTreeSet::new(),
        workspace: None,
        last4,
        created: store.now(),
    };
    store.add_key(&account, key, digest).await.map_err(failed)?;
    Ok(Furnished { account, key: id, secret })
}

fn failed(error: StoreError) -> Failure {
    Failure::Refused(format!("the ledger could not be furnished: {error}"))
}
