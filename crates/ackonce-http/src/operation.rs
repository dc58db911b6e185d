//! The run as the inner service knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ackonce::Context;

use crate::identity::IdempotencyKey;

/// The run that the inner service is in; an extension of the request, and with the feature `axum` an extractor. Cloning is cheap.
///
/// ```
/// use ackonce_http::Operation;
/// use axum::{Extension, http::StatusCode};
///
/// async fn charge_card(_: String) -> Result<(), std::io::Error> { Ok(()) }
/// async fn book() -> Result<(), std::io::Error> { Ok(()) }
///
/// async fn charge(Extension(operation): Extension<Operation>) -> StatusCode {
///     // The card network knows this key: a second run of the same operation charges nothing.
///     if charge_card(operation.idempotency_key("charge")).await.is_err() {
///         return StatusCode::BAD_GATEWAY; // nothing happened: the client may try again
///     }
///     operation.mark_irreversible();
///     match book().await {
///         Ok(()) => StatusCode::CREATED,
///         Err(_) => StatusCode::INTERNAL_SERVER_ERROR, // charged, not booked: this does not run again
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Operation(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: IdempotencyKey,
    context: Context,
    irreversible: AtomicBool,
}

impl Operation {
    pub(crate) fn new(key: IdempotencyKey, context: Context) -> Self {
        Self(Arc::new(Inner { key, context, irreversible: AtomicBool::new(false) }))
    }

    /// The client's key.
    #[must_use]
    pub fn key(&self) -> &IdempotencyKey {
        &self.0.key
    }

    /// Which run of this operation this is, from 1. A second one may find the effect of the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.context.attempt()
    }

    /// The run: its attempt, its fence, whether it was cancelled.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.0.context
    }

    /// A key to pass on, the same for every run of this operation; see [`Context::idempotency_key`]. Write it into
    /// the business row, too, under a unique constraint.
    #[must_use]
    pub fn idempotency_key(&self, step: &str) -> String {
        self.0.context.idempotency_key(step)
    }

    /// From here on the operation cannot be taken back, so it must not run again, however this run ends: an
    /// answer that is not kept, a panic, a run past its time or its lease is recorded as *outcome unknown*, and
    /// repeats are answered so (409 `outcome_unknown`) until somebody has looked.
    ///
    /// The mark is in this process. A process that is killed leaves the claim to its lease; then
    /// [`Settings::on_unknown`](ackonce::Settings::on_unknown) decides, where `Park` is the strict choice.
    pub fn mark_irreversible(&self) {
        self.0.irreversible.store(true, Ordering::Release);
    }

    /// True if it was marked.
    #[must_use]
    pub fn is_irreversible(&self) -> bool {
        self.0.irreversible.load(Ordering::Acquire)
    }
}
