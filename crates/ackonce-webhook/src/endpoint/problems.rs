//! Problem documents of an endpoint.

use std::time::Duration;

use ackonce_http::problem::Problem;
use bytes::Bytes;
use http::{Response, StatusCode};

use super::body::{WebhookBody, whole};
use crate::error::VerifyError;

/// The answer for a handler that blames something else; a plain failure is a 500.
pub(super) fn handler_unavailable() -> Response<WebhookBody> {
    let title = "It cannot be processed now";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "handler_unavailable", title);
    response(problem.with_retry_after(Duration::from_secs(1)))
}

/// The answer to a request that is not verified or not understood.
pub(super) fn refusal(refused: &VerifyError) -> Response<WebhookBody> {
    let (error, title) = match refused.status() {
        StatusCode::UNAUTHORIZED => ("not_verified", "The request is not verified"),
        _ => ("not_understood", "The request is not understood"),
    };
    response(Problem::new(refused.status(), error, title).with_detail(refused.to_string()))
}

/// A problem document as the answer.
pub(super) fn response(problem: Problem) -> Response<WebhookBody> {
    problem.into_response::<Bytes>().map(whole)
}
