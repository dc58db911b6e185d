//! Extractors for axum.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::operation::Operation;
use crate::problem::Problem;

/// A handler asked for the [`Operation`] of a request that has none: it is not behind an
/// [`IdempotencyLayer`](crate::IdempotencyLayer), or the layer let the request pass without a key. The answer is a
/// 500 `no_operation`, because the router is wrong and not the request; where a key is optional, ask for
/// `Option<Operation>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the request has no operation: its route is not behind an IdempotencyLayer, or it came without a key"
)]
pub struct NoOperation;

impl IntoResponse for NoOperation {
    fn into_response(self) -> Response {
        tracing::error!(target: "ackonce", "{self}; a handler for requests without a key takes an Option<Operation>");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "no_operation",
            "The server is not set up for this request",
        )
        .with_detail("Nothing was done. Tell the service's operator.")
        .into_response::<Body>()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        Self::into_response::<Body>(self)
    }
}

/// ```
/// use ackonce_http::Operation;
/// use axum::http::StatusCode;
///
/// async fn pay(operation: Operation, order: String) -> StatusCode {
///     println!("run {} of {}, for {order}", operation.attempt(), operation.key());
///     operation.mark_irreversible();
///     StatusCode::CREATED
/// }
/// let app: axum::Router = axum::Router::new().route("/payments", axum::routing::post(pay));
/// ```
impl<S: Send + Sync> FromRequestParts<S> for Operation {
    type Rejection = NoOperation;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoOperation> {
        parts.extensions.get().cloned().ok_or(NoOperation)
    }
}

/// `None` for a request without a key, where it needs none.
impl<S: Send + Sync> OptionalFromRequestParts<S> for Operation {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}
