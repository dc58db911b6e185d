//! The metrics of a layer, besides those of its runner.

use ackonce::adapter::metric::Metric;

/// The metrics of idempotency layers, beside those of their runners.
pub const METRICS: &[Metric] = &[REFUSED];

const REFUSED: Metric = Metric::counter(
    "ackonce_http_refused_total",
    &["scope", "error"],
    "Requests answered with a problem document, by its error",
);

/// Counts a request that was answered with a problem document, and logs it.
pub(super) fn refused(scope: &str, error: &'static str) {
    REFUSED.counter_of(&[scope, error]).increment(1);
    tracing::debug!(target: "ackonce", decision = "refused", scope, error);
}
