//! The error envelopes of the OpenAI-compatible dialect, in the shapes of `WIRE 1.1, 1.2`.

use serde_json::{Map, Value, json};

use super::modes::Mode;

/// One refusal: status, code and text, and which of the two families it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) status: u16,
    /// `error.code`.
    pub(super) code: &'static str,
    /// `error.type`; the same as the code for billing refusals, `invalid_request_error` at the gateway.
    pub(super) kind: &'static str,
    pub(super) message: String,
    /// Refused by the model service (an `id` beside the error) and not at the gateway.
    pub(super) by_model: bool,
    /// Whether `request_id` is filled; one family leaves it empty (`WIRE 1.2`).
    pub(super) identified: bool,
}

impl Envelope {
    fn gateway(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, kind: "invalid_request_error", message, by_model: false, identified: true }
    }

    fn model(status: u16, code: &'static str, message: &str) -> Self {
        Self { status, code, kind: code, message: message.to_owned(), by_model: true, identified: true }
    }

    /// A parameter out of its range, with the message as the model service words it.
    pub(super) fn parameter(problem: &str) -> Self {
        Self {
            kind: "invalid_request_error",
            ..Self::model(
                400,
                "invalid_parameter_error",
                &format!("<400> InternalError.Algo.InvalidParameter: {problem}"),
            )
        }
    }

    /// A request that cannot be read.
    pub(super) fn unreadable(problem: &str) -> Self {
        Self::gateway(400, "invalid_request_error", problem)
    }

    pub(super) fn unknown_model(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        Self::gateway(404, "model_not_found", message)
    }

    pub(super) fn invalid_key() -> Self {
        let message = "Incorrect API key provided. For details, see: \
            https://help.aliyun.com/zh/model-studio/error-code#apikey-error";
        Self::gateway(401, "invalid_api_key", message)
    }

    /// The envelope of a mode that refuses with one; `None` for every other mode.
    pub(super) fn of(mode: Mode, model: &str) -> Option<Self> {
        TABLE.iter().find(|(known, ..)| *known == mode).map(|(_, status, code, message)| match mode {
            Mode::ModelNotFound => Self::unknown_model(model),
            Mode::InvalidKey => Self::invalid_key(),
            Mode::BadRequest => Self::parameter(message),
            Mode::InsufficientQuota => {
                Self { by_model: false, identified: false, ..Self::model(*status, code, message) }
            }
            _ => Self::model(*status, code, message),
        })
    }

    /// The whole body. `ids` are (the completion's id, the request's id).
    pub(super) fn body(&self, ids: &(String, String)) -> Value {
        let error = json!({"message": self.message, "type": self.kind, "param": null, "code": self.code});
        let mut body = Map::new();
        body.insert("error".to_owned(), error);
        if self.by_model {
            body.insert("id".to_owned(), Value::from(ids.0.clone()));
        }
        let request_id = if self.identified { ids.1.clone() } else { String::new() };
        body.insert("request_id".to_owned(), Value::from(request_id));
        Value::Object(body)
    }
}

/// Mode, status, code, text. The texts of billing refusals are the provider's own, because clients have been seen to
/// match on them; the code is what counts.
const TABLE: &[(Mode, u16, &str, &str)] = &[
    (Mode::BadRequest, 400, "invalid_parameter_error", "Range of top_p should be (0.0, 1.0]"),
    (Mode::InvalidKey, 401, "invalid_api_key", ""),
    (Mode::ModelNotFound, 404, "model_not_found", ""),
    (
        Mode::FreeTierOnly,
        403,
        "AllocationQuota.FreeTierOnly",
        "The free tier of the model has been exhausted. If you wish to continue access the model on a paid basis, \
         please disable the \"use free tier only\" mode in the management console.",
    ),
    (
        Mode::FreeTierOnlyNew,
        403,
        "AllocationQuota.FreeTierOnly",
        "The free quota has been exhausted. To continue accessing the model on a paid basis, please complete your \
         payment information (or disable the \"use free tier only\" mode in the management console if already \
         completed).",
    ),
    (Mode::AccessDenied, 403, "access_denied", "Access denied."),
    (Mode::RateLimit, 429, "limit_requests", "You exceeded your current requests list."),
    (
        Mode::InsufficientQuota,
        429,
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    (Mode::FreeAllocatedQuota, 429, "Throttling.AllocationQuota", "Free allocated quota exceeded."),
    (Mode::CommodityNotPurchased, 429, "CommodityNotPurchased", "Commodity has not purchased yet."),
    (Mode::PrepaidBillOverdue, 429, "PrepaidBillOverdue", "The prepaid bill is overdue."),
    (Mode::PostpaidBillOverdue, 429, "PostpaidBillOverdue", "The postpaid bill is overdue."),
    (
        Mode::Arrearage,
        400,
        "Arrearage",
        "Access denied, please make sure your account is in good standing. For details, see: \
         https://help.aliyun.com/zh/model-studio/error-code#overdue-payment",
    ),
    (Mode::ContentInspection, 400, "data_inspection_failed", "Input text data may contain inappropriate content."),
    (Mode::InternalError, 500, "internal_error", "An internal error has occured, please try again later."),
    (Mode::Overloaded, 503, "ModelUnavailable", "Model is unavailable, please try again later."),
    (
        Mode::ErrorOnlyEvent,
        200,
        "Throttling.AllocationQuota",
        "Allocated quota exceeded, please increase your quota limit.",
    ),
    (
        Mode::ErrorMidStream,
        200,
        "Throttling.AllocationQuota",
        "Allocated quota exceeded, please increase your quota limit.",
    ),
];
