//! Gauges, and a warning once a minute for a message that has been in hand for long.

use std::time::Duration;

use ackonce::adapter::metric::Metric;
use metrics::Gauge;

use crate::metrics::{BACKLOG, BLOCKED, IN_FLIGHT, LIVE, OLDEST, READY};
use crate::{AmqpHealth, AmqpReport};

/// The interval of the gauges; the age from which on the oldest message is named in the log, and the interval of that.
const GAUGES: Duration = Duration::from_secs(1);
const OLD: Duration = Duration::from_secs(60);

/// The gauges of one scope.
pub(crate) struct Gauges {
    in_flight: Gauge,
    oldest: Gauge,
    live: Gauge,
    ready: Gauge,
    blocked: Gauge,
    backlog: Gauge,
}

impl Gauges {
    pub(crate) fn of(scope: &str) -> Self {
        let named = |metric: Metric| metric.gauge_of(&[scope]);
        Self {
            in_flight: named(IN_FLIGHT),
            oldest: named(OLDEST),
            live: named(LIVE),
            ready: named(READY),
            blocked: named(BLOCKED),
            backlog: named(BACKLOG),
        }
    }

    pub(crate) fn set(&self, report: &AmqpReport) {
        let truth = |yes| if yes { 1.0 } else { 0.0 };
        self.in_flight.set(f64::from(u32::try_from(report.in_flight).unwrap_or(u32::MAX)));
        self.oldest.set(report.oldest.as_ref().map_or(0.0, |oldest| oldest.age.as_secs_f64()));
        self.live.set(truth(report.stuck.is_none()));
        self.ready.set(truth(report.is_ready));
        self.blocked.set(truth(report.blocked));
        // An unknown length is no length of zero: an alert on it must not end when the broker goes away.
        self.backlog.set(report.backlog.map_or(f64::NAN, f64::from));
    }
}

/// Until it is dropped.
pub(crate) async fn watch(health: AmqpHealth, scope: String) {
    let gauges = Gauges::of(&scope);
    let mut every = tokio::time::interval(GAUGES);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut quiet_until = tokio::time::Instant::now();
    loop {
        every.tick().await;
        let report = health.report();
        gauges.set(&report);
        let now = tokio::time::Instant::now();
        let Some(oldest) = report.oldest.filter(|oldest| oldest.age >= OLD && now >= quiet_until) else {
            continue;
        };
        quiet_until = now + OLD;
        tracing::warn!(target: "ackonce", scope, queue = report.queue, delivery_tag = oldest.delivery_tag,
            message_id = oldest.message_id, in_hand_s = oldest.age.as_secs(), why = %oldest.waits,
            waiting_s = oldest.waiting.as_secs(), in_flight = report.in_flight,
            "a message has been in hand for more than a minute");
    }
}
