//! Errors of a request, and of an endpoint's configuration.

use std::borrow::Cow;
use std::time::Duration;

use ackonce::IdError;
use http::StatusCode;

/// The reason that a request was refused. Nothing was claimed and nothing recorded.
///
/// The sender sees [`status`](Self::status) and the text, which quotes no secret and no body; metrics count it by
/// [`as_str`](Self::as_str). A provider that gets a 4xx comes again or gives up, as for every other failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It is not signed.
    #[error("not signed: there is no {0}")]
    Unsigned(Cow<'static, str>),
    /// No signature is right for any of the secrets.
    #[error("no signature matches")]
    Signature,
    /// It was signed longer ago than the tolerance.
    #[error("signed {age:?} ago, longer than the tolerance")]
    Expired {
        /// The age of the signature.
        age: Duration,
    },
    /// It is signed for a time further ahead than the tolerance.
    #[error("signed {ahead:?} ahead of this clock, further than the tolerance")]
    Early {
        /// The distance into the future.
        ahead: Duration,
    },
    /// A part of it cannot be read.
    #[error("malformed {part}: {why}")]
    Malformed {
        /// The header, or the body.
        part: Cow<'static, str>,
        /// The fault found in it.
        why: Cow<'static, str>,
    },
    /// It is signed, and says nothing that could tell a repetition.
    #[error(transparent)]
    Id(#[from] IdError),
}

impl VerifyError {
    pub(crate) fn malformed(part: impl Into<Cow<'static, str>>, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Malformed { part: part.into(), why: why.into() }
    }

    pub(crate) fn body(error: &serde_json::Error) -> Self {
        // The error's own text quotes the body.
        Self::malformed("body", format!("{:?} error at line {}", error.classify(), error.line()))
    }

    /// 401 for a request without a valid, current signature; 400 for one that cannot be read.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unsigned(_) | Self::Signature | Self::Expired { .. } | Self::Early { .. } => {
                StatusCode::UNAUTHORIZED
            }
            Self::Malformed { .. } | Self::Id(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The word used in metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unsigned(_) => "unsigned",
            Self::Signature => "signature",
            Self::Expired { .. } => "expired",
            Self::Early { .. } => "early",
            Self::Malformed { .. } => "malformed",
            Self::Id(_) => "no-id",
        }
    }
}

/// A set-up that cannot work, or that would make the promise untrue.
///
/// ```
/// use ackonce_webhook::{ConfigError, Stripe};
/// // Read from a file, with its newline: it would refuse every request.
/// let error = Stripe::new(["whsec_1\n"]).unwrap_err();
/// assert!(matches!(error, ConfigError::Secret { index: 0, .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no secret to verify with.
    #[error("no secret was given")]
    NoSecret,
    /// A secret is malformed.
    #[error("secret {index}: {why}")]
    Secret {
        /// Which, from 0.
        index: usize,
        /// The fault found in it.
        why: Cow<'static, str>,
    },
    /// A part of a scheme's description that cannot be understood.
    #[error("{setting}: {why}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// The fault found in it.
        why: Cow<'static, str>,
    },
    /// Records would be forgotten while the same event can still come.
    #[error("Settings::window is {window:?}; it must be at least {at_least:?}, {why}")]
    ShortWindow {
        /// The window that was set.
        window: Duration,
        /// The shortest that keeps the promise.
        at_least: Duration,
        /// The longest redelivery that the window would miss.
        why: Cow<'static, str>,
    },
    /// The core refuses the settings.
    #[error(transparent)]
    Core(#[from] ackonce::Error),
}

impl ConfigError {
    pub(crate) fn setting(setting: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Setting { setting, why: why.into() }
    }
}
