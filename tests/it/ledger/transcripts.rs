//! Every transcript, and a count of what they show.

use std::collections::BTreeSet;

use gratis::ledger::{Decline, Done, HoldState, Outcome, Refusal};

use crate::book::{Direct, play, transcripts};

#[test]
fn the_transcripts_come_out_as_written() {
    let mut wrong = Vec::new();
    let all = transcripts();
    for transcript in &all {
        let mut desk = Direct::new(transcript.state, transcript.never_pay);
        if let Err(why) = play(transcript, &mut desk) {
            wrong.push(why);
        }
    }
    assert!(wrong.is_empty(), "{} of {} transcripts\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

#[test]
fn most_transcripts_can_be_played_against_a_store() {
    let all = transcripts();
    assert!(all.len() > 50 && all.iter().filter(|transcript| transcript.has_upkeep()).count() < 5);
}

#[test]
fn the_transcripts_show_every_outcome() {
    let mut seen = BTreeSet::new();
    for transcript in transcripts() {
        let mut desk = Direct::new(transcript.state, transcript.never_pay);
        seen.extend(play(&transcript, &mut desk).unwrap().iter().map(name));
    }
    let missing: Vec<_> = every_name().into_iter().filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "no transcript shows {missing:?}");
}

/// The name of an outcome, down to the variant inside.
pub fn name(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Admitted(admitted) => format!("Admitted {:?}", admitted.mode),
        Outcome::Refused(refusal) => format!("Refused {refusal:?}"),
        Outcome::AlreadyResolved(state) => format!("AlreadyResolved {state:?}"),
        Outcome::Resolved(resolved) => format!("Resolved {:?}", resolved.state),
        Outcome::NotOpen(state) => format!("NotOpen {state:?}"),
        Outcome::Unknown(resolved) => format!("Unknown {:?}", resolved.state),
        Outcome::Expired { posted, .. } => if *posted > 0 { "Expired some" } else { "Expired none" }.to_owned(),
        Outcome::Forgotten(holds) => if *holds > 0 { "Forgotten some" } else { "Forgotten none" }.to_owned(),
        Outcome::Done(Done::GrantAdded(_)) => "Done GrantAdded".to_owned(),
        Outcome::Done(Done::Balance { .. }) => "Done Balance".to_owned(),
        Outcome::Done(Done::Changed) => "Done Changed".to_owned(),
        Outcome::Done(Done::Unchanged) => "Done Unchanged".to_owned(),
        Outcome::Declined(decline) => format!("Declined {decline:?}"),
    }
}

/// The names of all outcomes that there are. The matches make a new variant a compile error here.
pub fn every_name() -> Vec<String> {
    use HoldState::{Corrected, Open, Presumed, Released, Settled};
    let mut names: Vec<String> = ["FreeQuotaOnly", "PayAsYouGo"].map(|mode| format!("Admitted {mode}")).into();
    names.extend(refusals().map(|refusal| format!("Refused {refusal:?}")));
    names.extend(declines().map(|decline| format!("Declined {decline:?}")));
    names.extend([Open, Settled, Released, Presumed, Corrected].map(|state| format!("AlreadyResolved {state:?}")));
    names.extend([Settled, Released, Presumed, Corrected].map(|state| format!("Resolved {state:?}")));
    names.extend([Settled, Released, Presumed, Corrected].map(|state| format!("NotOpen {state:?}")));
    names.extend([Settled, Released, Presumed].map(|state| format!("Unknown {state:?}")));
    names.extend(["Expired some", "Expired none", "Forgotten some", "Forgotten none"].map(str::to_owned));
    names.extend(["GrantAdded", "Balance", "Changed", "Unchanged"].map(|done| format!("Done {done}")));
    names
}

fn refusals() -> [Refusal; 14] {
    use Refusal as R;
    let known = |refusal: R| match refusal {
        R::KeyNotActive | R::AccountNotActivated | R::AccountClosed | R::Arrearage | R::ModelNotAllowed => refusal,
        R::NoGrant | R::Ended | R::UsedUp | R::Busy | R::ClosedByProvider | R::Unbounded => refusal,
        R::NotCovered | R::NotPayable | R::TooLarge => refusal,
    };
    [
        R::KeyNotActive,
        R::AccountNotActivated,
        R::AccountClosed,
        R::Arrearage,
        R::ModelNotAllowed,
        R::NoGrant,
        R::Ended,
        R::UsedUp,
        R::Busy,
        R::ClosedByProvider,
        R::Unbounded,
        R::NotCovered,
        R::NotPayable,
        R::TooLarge,
    ]
    .map(known)
}

fn declines() -> [Decline; 13] {
    use Decline as D;
    let known = |decline: D| match decline {
        D::NoGrant | D::Ended | D::UsedUp | D::NotUsedUp | D::UnknownGrant | D::UnknownKey => decline,
        D::UnknownPool | D::KeyDeleted | D::AccountClosed | D::WouldRaise | D::TooLarge | D::EndsBeforeStart => decline,
        D::ChangedMeanwhile => decline,
    };
    [
        D::NoGrant,
        D::Ended,
        D::UsedUp,
        D::NotUsedUp,
        D::UnknownGrant,
        D::UnknownKey,
        D::UnknownPool,
        D::KeyDeleted,
        D::AccountClosed,
        D::WouldRaise,
        D::TooLarge,
        D::EndsBeforeStart,
        D::ChangedMeanwhile,
    ]
    .map(known)
}
