//! The ways in which a call can be made to go wrong, and their names.

/// One way to misbehave. What each does and what it charges: the table in the documentation of this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "every variant is a row of the table in the room's documentation")]
pub enum Mode {
    None,
    BadRequest,
    InvalidKey,
    FreeTierOnly,
    FreeTierOnlyNew,
    AccessDenied,
    ModelNotFound,
    RateLimit,
    InsufficientQuota,
    FreeAllocatedQuota,
    CommodityNotPurchased,
    PrepaidBillOverdue,
    PostpaidBillOverdue,
    Arrearage,
    ContentInspection,
    InternalError,
    Overloaded,
    ErrorOnlyEvent,
    Redirect,
    Echo,
    ErrorHtml,
    NeverAnswer,
    HangMidStream,
    ResetBeforeHead,
    ResetMidStream,
    Truncate,
    Cut,
    ErrorMidStream,
    NoUsage,
    LieLow,
    LieHigh,
    NegativeUsage,
    FloatUsage,
    StringUsage,
    IgnoreClamp,
    ThinkPast,
    DoubleUsage,
    DoubleDone,
    Crlf,
    Comments,
    NoSpace,
    Split,
    BigLine,
    InvalidUtf8,
    Garbage,
    WrongLength,
    GzipStream,
    SlowDrip,
}

impl Mode {
    /// Every mode with its name on the wire.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("bad-request", Self::BadRequest),
        ("invalid-key", Self::InvalidKey),
        ("free-tier-only", Self::FreeTierOnly),
        ("free-tier-only-new", Self::FreeTierOnlyNew),
        ("access-denied", Self::AccessDenied),
        ("model-not-found", Self::ModelNotFound),
        ("rate-limit", Self::RateLimit),
        ("insufficient-quota", Self::InsufficientQuota),
        ("free-allocated-quota", Self::FreeAllocatedQuota),
        ("commodity-not-purchased", Self::CommodityNotPurchased),
        ("prepaid-bill-overdue", Self::PrepaidBillOverdue),
        ("postpaid-bill-overdue", Self::PostpaidBillOverdue),
        ("arrearage", Self::Arrearage),
        ("content-inspection", Self::ContentInspection),
        ("internal-error", Self::InternalError),
        ("overloaded", Self::Overloaded),
        ("error-only-event", Self::ErrorOnlyEvent),
        ("redirect", Self::Redirect),
        ("echo", Self::Echo),
        ("error-html", Self::ErrorHtml),
        ("never-answer", Self::NeverAnswer),
        ("hang-mid-stream", Self::HangMidStream),
        ("reset-before-head", Self::ResetBeforeHead),
        ("reset-mid-stream", Self::ResetMidStream),
        ("truncate", Self::Truncate),
        ("cut", Self::Cut),
        ("error-mid-stream", Self::ErrorMidStream),
        ("no-usage", Self::NoUsage),
        ("lie-low", Self::LieLow),
        ("lie-high", Self::LieHigh),
        ("negative-usage", Self::NegativeUsage),
        ("float-usage", Self::FloatUsage),
        ("string-usage", Self::StringUsage),
        ("ignore-clamp", Self::IgnoreClamp),
        ("think-past", Self::ThinkPast),
        ("double-usage", Self::DoubleUsage),
        ("double-done", Self::DoubleDone),
        ("crlf", Self::Crlf),
        ("comments", Self::Comments),
        ("no-space", Self::NoSpace),
        ("split", Self::Split),
        ("big-line", Self::BigLine),
        ("invalid-utf8", Self::InvalidUtf8),
        ("garbage", Self::Garbage),
        ("wrong-length", Self::WrongLength),
        ("gzip-stream", Self::GzipStream),
        ("slow-drip", Self::SlowDrip),
    ];

    /// The mode of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode)
    }

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or("none", |(name, _)| name)
    }

    /// Whether such a call is refused before anything is produced, and so costs nothing.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::BadRequest
                | Self::InvalidKey
                | Self::FreeTierOnly
                | Self::FreeTierOnlyNew
                | Self::AccessDenied
                | Self::ModelNotFound
                | Self::RateLimit
                | Self::InsufficientQuota
                | Self::FreeAllocatedQuota
                | Self::CommodityNotPurchased
                | Self::PrepaidBillOverdue
                | Self::PostpaidBillOverdue
                | Self::Arrearage
                | Self::ContentInspection
                | Self::InternalError
                | Self::Overloaded
                | Self::ErrorOnlyEvent
                | Self::Redirect
                | Self::Echo
        )
    }
}
