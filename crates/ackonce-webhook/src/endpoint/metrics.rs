//! Metrics of an endpoint besides its runner's: refused requests, and the secret that matched.

use ackonce::adapter::metric::Metric;

use crate::error::VerifyError;

/// The metrics of webhook endpoints, beside those of their runners.
pub const METRICS: &[Metric] = &[REFUSED, VERIFIED, BACKGROUND_FAILED];

const REFUSED: Metric = Metric::counter(
    "ackonce_webhook_refused_total",
    &["scope", "provider", "reason"],
    "Requests refused before a handler ran, by reason",
);
const VERIFIED: Metric = Metric::counter(
    "ackonce_webhook_verified_total",
    &["scope", "provider", "secret"],
    "Requests whose signature was right, by the position of the secret, counted from 0",
);
const BACKGROUND_FAILED: Metric = Metric::counter(
    "ackonce_webhook_background_failed_total",
    &["scope"],
    "Messages handed over to the background whose work then failed: it is lost",
);

/// Counts a message whose work in the background failed.
pub(crate) fn background_failed(scope: &str) {
    BACKGROUND_FAILED.describe();
    BACKGROUND_FAILED.counter_of(&[scope]).increment(1);
}

/// The labels of an endpoint's counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    scope: String,
    provider: String,
}

impl Metrics {
    pub(crate) fn new(scope: &str, provider: &str) -> Self {
        METRICS.iter().for_each(Metric::describe);
        Self { scope: scope.to_owned(), provider: provider.to_owned() }
    }

    /// `ackonce_webhook_refused_total`, by reason, and a log line. The request itself is a stranger's text and is not logged.
    pub(crate) fn refused(&self, refused: &VerifyError) {
        self.refused_for(refused.as_str());
    }

    /// The same for a body that could not be had, by the name of its problem: a provider may never send it again.
    pub(crate) fn refused_for(&self, reason: &'static str) {
        REFUSED.counter_of(&[&self.scope, &self.provider, reason]).increment(1);
        tracing::info!(target: "ackonce", decision = "refused", scope = self.scope, provider = self.provider, reason);
    }

    /// `ackonce_webhook_verified_total`, by secret: the old one of a rotation may go once it counts no more.
    pub(crate) fn verified(&self, secret: usize) {
        VERIFIED.counter_of(&[&self.scope, &self.provider, &secret.to_string()]).increment(1);
    }
}
