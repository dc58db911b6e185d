//! The context of a client that only asks: it keeps the cause of a failure, which the answer does not carry.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::is_refusal;

#[derive(Debug)]
pub(crate) struct Probe {
    /// For log lines.
    scope: Arc<str>,
    cause: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl Probe {
    pub(crate) fn new(scope: &Arc<str>) -> Self {
        Self { scope: scope.clone(), cause: Mutex::default() }
    }

    /// The last error of the driver, a refusal before all others.
    pub(crate) fn cause(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Probe {
    /// Each of its lines comes as an error, too.
    fn log(&self, _: RDKafkaLogLevel, fac: &str, line: &str) {
        tracing::debug!(target: "librdkafka", scope = &*self.scope, fac, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        // It names no cause, and the one before it does: "0/1 brokers are down" after a broker that never answers.
        if code == RDKafkaErrorCode::AllBrokersDown {
            return;
        }
        let mut cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        if is_refusal(code) || cause.as_ref().is_none_or(|(known, _)| !is_refusal(*known)) {
            *cause = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Probe {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_cause_and_the_number_of_brokers_is_none() {
        let probe = Probe::new(&"s".into());
        let say = |code, text| probe.error(KafkaError::Global(code), text);
        say(RDKafkaErrorCode::AllBrokersDown, "0/1 brokers are down");
        assert_eq!(probe.cause(), None);
        say(RDKafkaErrorCode::Authentication, "refused");
        say(RDKafkaErrorCode::BrokerTransportFailure, "connection refused");
        assert_eq!(probe.cause(), Some((RDKafkaErrorCode::Authentication, "refused".to_owned())));
    }
}
