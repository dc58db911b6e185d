//! The metrics of a consumer beside those of its runner.

use ackonce::adapter::metric::Metric;

/// The metrics of a Kafka consumer, beside those of its runner.
pub const METRICS: &[Metric] =
    &[REBALANCES, COMMITS, COMMITS_FAILED, RECREATED, MOVED, ERRORS, LAG, AHEAD, IN_FLIGHT, OLDEST, HELD];

const BY_SCOPE: &[&str] = &["scope"];
const BY_PARTITION: &[&str] = &["scope", "topic", "partition"];

pub(crate) const REBALANCES: Metric =
    Metric::counter("ackonce_kafka_rebalances_total", BY_SCOPE, "Assignments and revocations of partitions");
pub(crate) const COMMITS: Metric =
    Metric::counter("ackonce_kafka_commits_total", BY_SCOPE, "Offset commits that the broker confirmed");
pub(crate) const COMMITS_FAILED: Metric = Metric::counter(
    "ackonce_kafka_commits_failed_total",
    BY_SCOPE,
    "Offset commits that the broker refused for a partition or did not confirm",
);
pub(crate) const RECREATED: Metric = Metric::counter(
    "ackonce_kafka_topics_recreated_total",
    BY_SCOPE,
    "Topics found deleted and created again, and read from their beginning",
);
pub(crate) const MOVED: Metric =
    Metric::counter("ackonce_kafka_moved_to_retry_total", BY_SCOPE, "Messages moved to a retry topic");
pub(crate) const ERRORS: Metric =
    Metric::counter("ackonce_kafka_errors_total", BY_SCOPE, "Errors that the Kafka client reported");
pub(crate) const LAG: Metric = Metric::gauge(
    "ackonce_kafka_lag",
    BY_PARTITION,
    "Messages between the next offset to commit and the end of the partition",
);
pub(crate) const AHEAD: Metric =
    Metric::gauge("ackonce_kafka_ahead", BY_PARTITION, "Messages read beyond the first unsettled one");
pub(crate) const IN_FLIGHT: Metric =
    Metric::gauge("ackonce_kafka_in_flight", BY_PARTITION, "Messages taken in and not settled");
pub(crate) const OLDEST: Metric =
    Metric::gauge("ackonce_kafka_oldest_seconds", BY_PARTITION, "Age of the oldest unsettled message")
        .in_seconds();
pub(crate) const HELD: Metric = Metric::gauge(
    "ackonce_kafka_held",
    BY_PARTITION,
    "1 while a limit keeps the partition from being read, else 0",
);
