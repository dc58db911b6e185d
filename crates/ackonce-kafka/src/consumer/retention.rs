//! The check that the window outlasts the topic: a message that is still there can be delivered again.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};

use crate::driver::Probe;

/// The time limit for the brokers to answer.
const ASK: Duration = Duration::from_secs(10);

/// Asks the brokers in the background, and warns where the window is shorter than `retention.ms`.
pub(crate) fn check(config: &ClientConfig, topics: &[String], window: Duration, scope: &Arc<str>) {
    let admin: AdminClient<Probe> = match config.create_with_context(Probe::new(scope)) {
        Ok(admin) => admin,
        Err(error) => {
            return tracing::warn!(target: "ackonce", scope = &**scope, %error, "retention.ms could not be asked");
        }
    };
    // A pattern is no topic that could be asked about.
    let topics: Vec<_> = topics.iter().filter(|topic| !topic.starts_with('^')).cloned().collect();
    if topics.is_empty() {
        return tracing::info!(target: "ackonce", scope = &**scope, "the retention.ms of a pattern's topics is not compared with the window");
    }
    let scope = scope.clone();
    tokio::spawn(async move {
        let scope = &*scope;
        let resources: Vec<_> = topics.iter().map(|t| ResourceSpecifier::Topic(t)).collect();
        let options = AdminOptions::new().request_timeout(Some(ASK));
        let answers = match tokio::time::timeout(ASK * 2, admin.describe_configs(&resources, &options)).await
        {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => {
                return tracing::warn!(target: "ackonce", scope, %error, "retention.ms could not be asked");
            }
            Err(_) => {
                return tracing::warn!(target: "ackonce", scope, "retention.ms could not be asked in time");
            }
        };
        for (topic, answer) in topics.iter().zip(answers) {
            let config = answer.ok();
            let value = |name| config.as_ref().and_then(|c| c.get(name)).and_then(|e| e.value.as_deref());
            match value("retention.ms").map(str::parse::<i64>) {
                Some(Ok(ms)) => {
                    warn_of_window(
                        scope,
                        topic,
                        kept_ms(ms, value("cleanup.policy").unwrap_or("delete")),
                        window,
                    );
                }
                _ => tracing::warn!(target: "ackonce", scope, topic, "the broker does not tell retention.ms"),
            }
        }
    });
}

fn warn_of_window(scope: &str, topic: &str, retention_ms: i64, window: Duration) {
    match shorter(retention_ms, window) {
        true => {
            tracing::warn!(target: "ackonce", scope, topic, retention_ms, window_s = window.as_secs(), "weakened: the window \
            is shorter than the topic's retention.ms; a replay of older messages runs them again (Settings::window)")
        }
        false => {
            tracing::info!(target: "ackonce", scope, topic, retention_ms, window_s = window.as_secs(), "the window outlasts the topic")
        }
    }
}

/// The retention that holds: a topic that is compacted alone keeps the last message of each key for ever.
fn kept_ms(retention_ms: i64, cleanup_policy: &str) -> i64 {
    if cleanup_policy.contains("delete") { retention_ms } else { -1 }
}

/// A negative retention keeps messages for ever.
fn shorter(retention_ms: i64, window: Duration) -> bool {
    u64::try_from(retention_ms).map_or(true, |ms| window < Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_outlasts_for_ever() {
        assert!(shorter(-1, Duration::MAX));
        assert!(shorter(604_800_000, Duration::from_secs(604_799)));
        assert!(!shorter(604_800_000, Duration::from_secs(604_800)));
    }

    #[test]
    fn a_compacted_topic_keeps_messages_for_ever_whatever_its_retention_says() {
        let window = Duration::from_secs(604_800);
        assert!(shorter(kept_ms(1000, "compact"), window));
        assert!(!shorter(kept_ms(1000, "compact,delete"), window));
        assert!(!shorter(kept_ms(1000, "delete"), window));
    }
}
