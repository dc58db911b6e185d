//! The state of a running consumer, for probes, dashboards and people.

pub(crate) mod report;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ackonce::Error;
use ackonce::adapter::Phase;
use ackonce::adapter::metric::Metric;
use rdkafka::error::RDKafkaErrorCode;

use self::report::{KafkaReport, PartitionReport};
use crate::driver::{Group, is_refusal};
use crate::metrics::{
    AHEAD, COMMITS, COMMITS_FAILED, ERRORS, HELD, IN_FLIGHT, LAG, METRICS, MOVED, OLDEST, REBALANCES,
    RECREATED,
};
use crate::partition::Lane;
use crate::tracker::PartitionId;

/// The interval between reports.
const LOOK: Duration = Duration::from_secs(1);
/// The age from which a partition's oldest unsettled message is named in the log, and the interval of that line.
const SAY: Duration = Duration::from_secs(60);
/// The longest that the poll thread may take for a turn, and a partition with lag may stand without a reason.
const STILL: Duration = Duration::from_secs(30);

/// Follows a [`KafkaConsumer`](crate::KafkaConsumer) while it runs. Cloning is cheap.
#[derive(Clone)]
pub struct KafkaHealth(Arc<Shared>);

struct Shared {
    scope: Arc<str>,
    began: Instant,
    /// Milliseconds from `began` to the poll thread's last turn.
    turned: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    report: KafkaReport,
    looked: Option<Instant>,
    stalled: bool,
    /// It was said that no broker answers.
    away: bool,
    /// When a broker last refused a right.
    refused: Option<Instant>,
}

impl KafkaHealth {
    pub(crate) fn new(scope: &str) -> Self {
        METRICS.iter().for_each(Metric::describe);
        let (scope, began) = (scope.into(), Instant::now());
        Self(Arc::new(Shared { scope, began, turned: AtomicU64::new(0), state: Mutex::default() }))
    }

    /// True if it makes progress. False once the consumer has ended, when its poll thread has not turned for 30 s, and
    /// when a partition has had lag for 30 s while nothing of it runs or waits for a due time. A broker that is away
    /// does not count: a restart would not bring it back.
    #[must_use]
    pub fn is_live(&self) -> bool {
        let state = self.state();
        match state.report.phase {
            Phase::NotStarted | Phase::Starting => true,
            Phase::Consuming | Phase::Stopping => !state.stalled && self.since_turn() < STILL,
            _ => false,
        }
    }

    /// True if it takes messages in: a broker answers, and has not refused the group or a topic within the last 30 s.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let state = self.state();
        let refused = state.refused.is_some_and(|at| at.elapsed() < STILL);
        let consumes = state.report.phase == Phase::Consuming && state.report.connected && !refused;
        consumes && self.since_turn() < STILL
    }

    /// The state of the consumer and of each of its partitions, not older than a second while it runs.
    #[must_use]
    pub fn report(&self) -> KafkaReport {
        self.state().report.clone()
    }

    pub(crate) fn scope(&self) -> &str {
        &self.0.scope
    }

    pub(crate) fn shared_scope(&self) -> &Arc<str> {
        &self.0.scope
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_turn(&self) -> Duration {
        let turned = Duration::from_millis(self.0.turned.load(Ordering::Relaxed));
        self.0.began.elapsed().saturating_sub(turned)
    }

    pub(crate) fn phase(&self, phase: Phase) {
        let mut state = self.state();
        // A failure is the last word.
        if state.report.phase != Phase::Failed {
            state.report.phase = phase;
        }
    }

    pub(crate) fn failed(&self, error: &Error) {
        let mut state = self.state();
        if state.report.phase != Phase::Failed {
            state.report.phase = Phase::Failed;
            state.report.trouble = Some(ackonce::chain(error).to_string());
        }
    }

    pub(crate) fn rebalanced(&self) {
        let mut state = self.state();
        state.report.rebalances += 1;
        state.report.connected = true;
        state.refused = None;
        self.count(REBALANCES);
    }

    pub(crate) fn committed(&self, all: bool) {
        let mut state = self.state();
        let (count, metric) = match all {
            true => (&mut state.report.commits, COMMITS),
            false => (&mut state.report.commits_failed, COMMITS_FAILED),
        };
        *count += 1;
        self.count(metric);
    }

    pub(crate) fn recreated(&self) {
        self.state().report.topics_recreated += 1;
        self.count(RECREATED);
    }

    pub(crate) fn moved(&self) {
        self.state().report.moved += 1;
        self.count(MOVED);
    }

    /// An error of the driver.
    pub(crate) fn heard(&self, code: RDKafkaErrorCode) {
        let mut state = self.state();
        state.report.last_error = Some(code.to_string());
        if code == RDKafkaErrorCode::AllBrokersDown {
            state.report.connected = false;
        }
        if is_refusal(code) {
            state.refused = Some(Instant::now());
        }
        self.count(ERRORS);
    }

    pub(crate) fn forget(&self, (topic, partition): &PartitionId) {
        for metric in [LAG, AHEAD, IN_FLIGHT, OLDEST, HELD] {
            self.gauge(metric, topic, *partition, 0.0);
        }
    }

    /// Called at every turn of the poll thread; looks at the partitions once a second.
    pub(crate) fn turn(&self, lanes: &mut [Lane], group: &Group) {
        let now = Instant::now();
        let turned = u64::try_from(now.duration_since(self.0.began).as_millis()).unwrap_or(u64::MAX);
        self.0.turned.store(turned, Ordering::Relaxed);
        let mut state = self.state();
        if state.looked.is_some_and(|looked| now.duration_since(looked) < LOOK) {
            return;
        }
        state.looked = Some(now);
        if let Some(connected) = group.connected() {
            state.report.connected = connected;
        }
        let connected = state.report.connected;
        self.say_away(&mut state);
        state.stalled = false;
        state.report.partitions.clear();
        for lane in lanes {
            let report = PartitionReport::of(lane, group.end_of(&lane.assignment.id), now);
            let stands = connected && report.lag.is_some_and(|lag| lag > 0) && report.stands();
            let since = match stands {
                true => *lane.watch.stalled.get_or_insert(now),
                false => {
                    lane.watch.stalled = None;
                    now
                }
            };
            state.stalled |= now.duration_since(since) >= STILL;
            self.say(lane, &report, now);
            self.publish(&report);
            state.report.partitions.push(report);
        }
    }

    /// Says once that the brokers are away, and once that they are back.
    fn say_away(&self, state: &mut State) {
        let (connected, scope) = (state.report.connected, &*self.0.scope);
        // Before the first assignment the look at start says so.
        if connected != state.away || state.report.rebalances == 0 {
            return;
        }
        state.away = !connected;
        match connected {
            false => {
                tracing::warn!(target: "ackonce", scope, "no broker of Kafka answers: nothing new is read and \
                nothing is committed until one does")
            }
            true => tracing::warn!(target: "ackonce", scope, "Kafka answers again"),
        }
    }

    /// Names a message that has held its partition's commit back for a minute, once a minute.
    fn say(&self, lane: &mut Lane, report: &PartitionReport, now: Instant) {
        let Some(oldest) = &report.oldest else { return };
        let recently = lane.watch.said.is_some_and(|said| now.duration_since(said) < SAY);
        if oldest.since < SAY && report.held.is_none_or(|held| held != "too far ahead") || recently {
            return;
        }
        lane.watch.said = Some(now);
        tracing::warn!(target: "ackonce", scope = &*self.0.scope, topic = report.topic, partition = report.partition,
            offset = oldest.offset, since_s = oldest.since.as_secs(), why = %oldest.waits, ahead = report.ahead,
            held = report.held, "the oldest message of the partition is not settled: the commit waits for it");
    }

    fn publish(&self, report: &PartitionReport) {
        #[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
        let figures = [
            (LAG, report.lag.unwrap_or(0) as f64),
            (AHEAD, report.ahead as f64),
            (IN_FLIGHT, report.in_flight as f64),
            (OLDEST, report.oldest.as_ref().map_or(0.0, |oldest| oldest.since.as_secs_f64())),
            (HELD, f64::from(u8::from(report.held.is_some()))),
        ];
        for (metric, value) in figures {
            self.gauge(metric, &report.topic, report.partition, value);
        }
    }

    fn count(&self, metric: Metric) {
        metric.counter_of(&[&self.0.scope]).increment(1);
    }

    fn gauge(&self, metric: Metric, topic: &str, partition: i32, value: f64) {
        metric.gauge_of(&[&self.0.scope, topic, &partition.to_string()]).set(value);
    }
}

impl fmt::Debug for KafkaHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_whose_group_is_refused_is_not_ready() {
        let health = KafkaHealth::new("refused");
        health.phase(Phase::Consuming);
        health.state().report.connected = true;
        health.turn(&mut [], &Group::default());
        assert!(health.is_ready());
        health.heard(RDKafkaErrorCode::GroupAuthorizationFailed);
        assert!(health.is_live() && !health.is_ready(), "a broker answers, and no message will come");
        health.rebalanced();
        assert!(health.is_ready());
    }
}
