//! The ledger's no, as a client gets it.

use http::StatusCode;

use super::{EXHAUSTED, FREE_TIER_ONLY, Rejection, Retry, Shape, UpstreamTrouble};
use crate::ledger::Refusal;

/// What a client is told of the ledger's no.
pub(super) fn shape(refusal: Refusal) -> Shape {
    let free_tier = |message: &str| Shape::service(StatusCode::FORBIDDEN, FREE_TIER_ONLY, message);
    match refusal {
        Refusal::KeyNotActive => Rejection::InvalidApiKey.shape(),
        Refusal::AccountNotActivated => Shape::service(
            StatusCode::FORBIDDEN,
            "AccessDenied.Unpurchased",
            "Access to model denied. Please make sure you are eligible for using the model.",
        ),
        Refusal::AccountClosed => {
            Shape::service(StatusCode::FORBIDDEN, "access_denied", "Access denied: the account is closed.")
        }
        Refusal::Arrearage => UpstreamTrouble::Overdue.shape(),
        Refusal::ModelNotAllowed => Shape::gateway(
            StatusCode::NOT_FOUND,
            "model_not_found",
            "The model does not exist or you do not have access to it.",
        ),
        Refusal::NoGrant => free_tier("The model has no free quota, and only free quota may be used."),
        Refusal::Ended => free_tier("The free quota of the model is not valid now, and only free quota may be used."),
        Refusal::UsedUp => free_tier(EXHAUSTED),
        Refusal::ClosedByProvider => free_tier(
            "The provider itself answered that the free quota of the model is used up; an operator can reopen it.",
        ),
        Refusal::Unbounded => {
            free_tier("No sound bound of what a call of the model can cost is known, and only free quota may be used.")
        }
        Refusal::NotCovered => free_tier("The free quota does not cover this call, and only free quota may be used."),
        Refusal::NotPayable => free_tier(
            "The free quota of the model is used up, and the model has no price at which it could be paid for.",
        ),
        Refusal::Busy => Shape::service(
            StatusCode::TOO_MANY_REQUESTS,
            "limit_requests",
            "What is left of the free quota is held by calls in progress; try again when they have ended.",
        )
        .retry(Retry::AfterSeconds(2)),
        Refusal::TooLarge => {
            let message = "The request's bounds are too large.";
            Shape {
                kind: "invalid_request_error",
                ..Shape::service(StatusCode::BAD_REQUEST, "invalid_parameter_error", message)
            }
        }
    }
}
