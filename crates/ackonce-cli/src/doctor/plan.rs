//! The settings of a relay as far as they matter here, with the defaults that it would have.

use std::time::Duration;

use ackonce_relay::IdPlace;

/// The settings that are judged together with a store and a source.
#[derive(Debug)]
pub(super) struct RelayPlan {
    pub(super) lease: Duration,
    pub(super) window: Duration,
    /// The longest wait for the sink's answer.
    pub(super) timeout: Duration,
    /// The longest back-off.
    pub(super) backoff: Duration,
    pub(super) retry_topics: Vec<(String, Duration)>,
    pub(super) dead_letter: Option<String>,
    pub(super) ids: Vec<IdPlace>,
    /// The most bytes of a message that the sink's client sends.
    pub(super) sink_limit: Option<usize>,
}

/// A time for people.
pub(super) fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// A time in milliseconds, as Kafka and RabbitMQ have it, for people. Negative ones are for ever.
pub(super) fn millis(ms: i64) -> String {
    u64::try_from(ms).map_or_else(|_| "for ever".to_owned(), |ms| time(Duration::from_millis(ms)))
}

/// True if a time in milliseconds is longer than another time. A negative one is for ever.
pub(super) fn outlasts(ms: i64, other: Duration) -> bool {
    u64::try_from(ms).map_or(true, |ms| Duration::from_millis(ms) > other)
}
