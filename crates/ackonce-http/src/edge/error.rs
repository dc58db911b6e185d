//! The reasons that a delivery has no receipt, and the answers to them.

use std::fmt;

use ackonce::adapter::{Unsettled, Why};
use http::StatusCode;

use crate::problem::{Problem, SOON};

/// Why a delivery has no receipt.
#[must_use = "a refused delivery is not settled; its sender must be told"]
pub enum EdgeError<D> {
    /// As many deliveries as there may be are running and waiting; this one was not looked at.
    Full,
    /// The runner handed it back.
    Unsettled(Unsettled<D>),
    /// Something panicked that was not the handler; the claim is left to its lease.
    Broken,
}

impl<D> EdgeError<D> {
    /// Why the runner handed it back, if it did.
    #[must_use]
    pub fn why(&self) -> Option<&Why> {
        match self {
            Self::Unsettled(unsettled) => Some(unsettled.why()),
            Self::Full | Self::Broken => None,
        }
    }

    /// The answer. Never a 2xx; nothing that a store says is shown.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Full => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "As many requests as can be are in progress",
            )
            .with_detail("Nothing was done. Send the same request again after Retry-After.")
            .with_retry_after(SOON),
            Self::Unsettled(unsettled) => problem(unsettled.why()),
            Self::Broken => {
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "The server failed midway")
                    .with_detail(
                        "The request may have taken effect. The same request can be sent again: it is answered 409 until \
                         that is known.",
                    )
            }
        }
    }
}

impl<D> fmt::Debug for EdgeError<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("Full"),
            Self::Unsettled(unsettled) => unsettled.fmt(f),
            Self::Broken => f.write_str("Broken"),
        }
    }
}

/// The answer to a caller whose delivery was handed back:
///
/// | why | status | name | `Retry-After` |
/// |---|---|---|---|
/// | `Busy` | 409 | `request_in_progress` | 1 s: a live holder ends long before its lease |
/// | `Mismatch` | 422 | `payload_mismatch` | |
/// | `Failed` | 500 | `handler_failed` | 1 s: the claim is released |
/// | `NotRecorded`, `Unavailable`, `Fatal` | 503 | `store_unavailable` | 1 s; `Fatal` 30 s: somebody must mend it |
/// | `Stopped`, `NotCurrent` | 503 | `shutting_down` | 1 s |
#[must_use]
pub fn problem(why: &Why) -> Problem {
    let unavailable = |wait| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            "It cannot be told whether this was processed before",
        )
        .with_detail(
            "The store of the records does not answer. Send the same request again after Retry-After.",
        )
        .with_retry_after(wait)
    };
    match why {
        Why::Busy { .. } => Problem::new(
            StatusCode::CONFLICT,
            "request_in_progress",
            "An earlier delivery of the same request is in progress",
        )
        .with_detail(
            "Send the same request again after Retry-After: it is then answered by the outcome of the first.",
        )
        .with_retry_after(SOON),
        Why::Mismatch => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "payload_mismatch",
            "The same ID came before with another payload",
        )
        .with_detail("A new operation needs a new ID; a retry has to send the same payload."),
        Why::Failed { .. } => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "handler_failed", "Processing failed")
                .with_detail("Send the same request again after Retry-After: it is then processed once more.")
                .with_retry_after(SOON)
        }
        Why::NotRecorded(_) | Why::Unavailable(_) => unavailable(SOON),
        Why::Fatal(_) => unavailable(30 * SOON),
        Why::Stopped | Why::NotCurrent => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", "This server is shutting down")
                .with_detail("Nothing was done. Send the same request again after Retry-After.")
                .with_retry_after(SOON)
        }
    }
}
