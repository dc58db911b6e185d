//! Metrics of an endpoint besides its runner's: refused requests, and the secret that matched.

use metrics::counter;

use crate::Refused;

/// The labels of an endpoint's counters.
#[derive(Debug)]
pub(crate) struct Meters {
    scope: String,
    provider: String,
}

impl Meters {
    pub(crate) fn new(scope: &str, provider: &str) -> Self {
        Self { scope: scope.to_owned(), provider: provider.to_owned() }
    }

    /// `ackonce_webhook_refused_total`, by reason, and a log line. The request itself is a stranger's text and is not logged.
    pub(crate) fn refused(&self, refused: &Refused) {
        self.refused_for(refused.as_str());
    }

    /// The same for a body that could not be had, by the name of its problem: a provider may never send it again.
    pub(crate) fn refused_for(&self, reason: &'static str) {
        let (scope, provider) = (self.scope.clone(), self.provider.clone());
        counter!("ackonce_webhook_refused_total", "scope" => scope, "provider" => provider, "reason" => reason)
            .increment(1);
        tracing::info!(target: "ackonce", decision = "refused", scope = self.scope, provider = self.provider, reason);
    }

    /// `ackonce_webhook_verified_total`, by secret: the old one of a rotation may go once it counts no more.
    pub(crate) fn verified(&self, secret: usize) {
        let (scope, provider) = (self.scope.clone(), self.provider.clone());
        counter!("ackonce_webhook_verified_total", "scope" => scope, "provider" => provider, "secret" => secret.to_string())
            .increment(1);
    }
}
