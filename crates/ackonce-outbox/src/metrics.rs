//! The metrics of a relay.

use std::sync::atomic::{AtomicU64, Ordering};

use ackonce::adapter::metric::Metric;
use metrics::{Counter, Gauge};

use crate::{OutboxCounts, OutboxLag};

const BY_OUTBOX: &[&str] = &["outbox"];

const PUBLISHED: Metric = Metric::counter(
    "ackonce_outbox_published_total",
    BY_OUTBOX,
    "Messages that were published and confirmed",
);
const FAILED: Metric =
    Metric::counter("ackonce_outbox_failed_total", BY_OUTBOX, "Attempts to publish a message that failed");
const PARKED: Metric = Metric::counter(
    "ackonce_outbox_parked_total",
    BY_OUTBOX,
    "Messages parked because they cannot be published",
);
const WAITING: Metric = Metric::gauge(
    "ackonce_outbox_waiting",
    BY_OUTBOX,
    "Messages that wait for a relay; an estimate beyond 10,000",
);
const OLDEST: Metric = Metric::gauge(
    "ackonce_outbox_oldest_seconds",
    BY_OUTBOX,
    "Age of the oldest message that waits for a relay",
)
.in_seconds();
const HELD: Metric = Metric::gauge(
    "ackonce_outbox_parked",
    BY_OUTBOX,
    "Messages that are parked, with the later ones of their keys that wait behind them",
);
const RANGES: Metric =
    Metric::gauge("ackonce_outbox_ranges", BY_OUTBOX, "Ranges of keys, of 16, that this relay holds");

/// The metrics of a relay.
pub const METRICS: &[Metric] = &[PUBLISHED, FAILED, PARKED, WAITING, OLDEST, HELD, RANGES];

/// Counters and gauges of one relay.
#[derive(Debug)]
pub(crate) struct Meters {
    published: Count,
    failed: Count,
    parked: Count,
    waiting: Gauge,
    oldest: Gauge,
    held: Gauge,
    pub(crate) ranges: Gauge,
}

#[derive(Debug)]
struct Count(AtomicU64, Counter);

impl Count {
    fn of(metric: Metric, outbox: &str) -> Self {
        Self(AtomicU64::new(0), metric.counter_of(&[outbox]))
    }

    fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
        self.1.increment(n);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Meters {
    pub(crate) fn new(outbox: &str) -> Self {
        METRICS.iter().for_each(Metric::describe);
        let gauge = |metric: Metric| metric.gauge_of(&[outbox]);
        Self {
            published: Count::of(PUBLISHED, outbox),
            failed: Count::of(FAILED, outbox),
            parked: Count::of(PARKED, outbox),
            waiting: gauge(WAITING),
            oldest: gauge(OLDEST),
            held: gauge(HELD),
            ranges: gauge(RANGES),
        }
    }

    pub(crate) fn published(&self) {
        self.published.add(1);
    }

    pub(crate) fn failed(&self) {
        self.failed.add(1);
    }

    pub(crate) fn parked(&self) {
        self.parked.add(1);
    }

    #[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub(crate) fn lag(&self, lag: OutboxLag) {
        self.waiting.set(lag.waiting as f64);
        self.oldest.set(lag.oldest.as_secs_f64());
        self.held.set(lag.parked as f64);
    }

    pub(crate) fn counts(&self) -> OutboxCounts {
        OutboxCounts {
            published: self.published.value(),
            failed: self.failed.value(),
            parked: self.parked.value(),
        }
    }
}
