//! The problems that only this layer has.

use ackonce::adapter::Why;
use http::{HeaderValue, StatusCode};

use super::delivery::Exchange;
use crate::edge::EdgeError;
use crate::problem::{Problem, SOON};
use crate::response::{REPLAY_UNAVAILABLE, RecordError};

pub(crate) fn broke(runs_again: bool) -> Problem {
    let problem =
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "handler_failed", "The request failed midway");
    advised(problem, runs_again, "Send the same request with the same key again after Retry-After.")
}

pub(crate) fn cancelled(runs_again: bool) -> Problem {
    let problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "run_cancelled",
        "The request was cancelled before it was answered",
    );
    let again =
        "Send the same request with the same key again after Retry-After; it is 409 until it may run.";
    advised(problem, runs_again, again)
}

/// With the next step of a client whose run ended without an answer.
fn advised(problem: Problem, runs_again: bool, again: &'static str) -> Problem {
    match runs_again {
        true => problem.with_detail(again).with_retry_after(SOON),
        false => problem.with_detail(LOOK),
    }
}

/// The advice where an operation is recorded as unknown.
const LOOK: &str = "It does not run again. Look whether it took effect before you send it with a new key.";

pub(crate) fn outcome_unknown() -> Problem {
    Problem::new(StatusCode::CONFLICT, "outcome_unknown", "The outcome of this request is unknown")
        .with_detail(LOOK)
}

pub(crate) fn not_kept(status: StatusCode, why: HeaderValue) -> Problem {
    Problem::new(
        StatusCode::GONE,
        "response_not_kept",
        "This request was answered, and the answer was not kept",
    )
    .with_detail(format!(
        "It was answered {} and does not run again. Ask for its result where the service shows it.",
        status.as_u16()
    ))
    .with_header(REPLAY_UNAVAILABLE, why)
}

pub(crate) fn unreadable(error: RecordError) -> Problem {
    match error {
        // Somebody is upgrading; a server of the newer version can answer.
        RecordError::Newer(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "record_from_newer_version",
            "The answer was recorded by a newer version of this server",
        )
        .with_detail("Send the same request again after Retry-After: a server of that version can answer it.")
        .with_retry_after(SOON),
        RecordError::Damaged(_) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "record_unreadable",
            "This request was answered, and the recorded answer is damaged",
        )
        .with_detail("It does not run again. Look for its effect before you send it with a new key."),
    }
}

/// The problem of a request that the runner handed back, in the words of this layer.
pub(crate) fn unsettled(refused: &EdgeError<Exchange>) -> Problem {
    match refused.why() {
        Some(Why::Mismatch) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "This idempotency key was used with another query or body",
        )
        .with_detail("A new operation needs a new key; a retry has to send the same query and body."),
        _ => refused.problem(),
    }
}
