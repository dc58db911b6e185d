//! The progress of a consumer, and the reasons for its waits.

pub(crate) mod report;
pub(crate) mod watch;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ackonce::adapter::{Phase, Waits};

use self::report::{AmqpReport, OldestDelivery};
use crate::AmqpMetrics;
use crate::channel::{Generation, Hand, Progress};
use crate::publisher::Upstream;

/// The time limit for one turn of the consumer's loop. Its longest step is a connection attempt to each of several
/// hosts, which are bounded by less.
const TURN: Duration = Duration::from_secs(3 * 60);
/// The longest time without progress of any message in hand.
const STALL: Duration = Duration::from_secs(2 * 60);
/// The time after which an unanswered claim makes the consumer not ready.
const STORE: Duration = Duration::from_secs(10);
/// Follows a consumer: for probes of an orchestrator, and for people. Cloning is cheap; it may be asked before the
/// consumer runs and after it has ended.
#[derive(Clone)]
pub struct AmqpHealth(Arc<Inner>);

struct Inner {
    queue: String,
    metrics: AmqpMetrics,
    progress: Arc<Progress>,
    /// The longest back-off, in milliseconds.
    backoff: AtomicU64,
    now: Mutex<Now>,
}

/// The present state.
struct Now {
    phase: Phase,
    since: Instant,
    trouble: Option<String>,
    generations: Vec<Weak<Generation>>,
    upstream: Weak<Upstream>,
    backlog: Option<u32>,
}

impl AmqpHealth {
    pub(crate) fn new(queue: &str, metrics: AmqpMetrics) -> Self {
        Self::since(Instant::now(), queue, metrics)
    }

    fn since(start: Instant, queue: &str, metrics: AmqpMetrics) -> Self {
        let now = Now {
            phase: Phase::NotStarted,
            since: start,
            trouble: None,
            generations: Vec::new(),
            upstream: Weak::new(),
            backlog: None,
        };
        Self(Arc::new(Inner {
            queue: queue.to_owned(),
            metrics,
            progress: Arc::new(Progress::new(start)),
            backoff: AtomicU64::new(0),
            now: Mutex::new(now),
        }))
    }

    /// True while the consumer makes progress, or waits for something that is bound to come. For a liveness probe: a
    /// process that is not live should be restarted.
    ///
    /// A consumer that has not started is live, one that has ended is not. A running one is live while its loop turns
    /// (at least every three minutes), and while no delivery in hand waits without a reason: each either runs, waits
    /// for a due time (a back-off, another worker's lease), for its turn behind one that does, or for the store, the
    /// dead-letter place or a delay queue, which are not mended by a restart. So a broker that is away, a store that is
    /// away and a handler that runs for long are live.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.report().stuck.is_none()
    }

    /// True while messages are handled. For a readiness probe or an alarm.
    ///
    /// False before the first connection and after the end, while the broker is away or refuses, while the consumer
    /// shuts down, while the store has left a claim unanswered for ten seconds, and whenever it is not
    /// [live](Self::is_live).
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.report().is_ready
    }

    /// The whole report.
    #[must_use]
    pub fn report(&self) -> AmqpReport {
        let (phase, since, trouble, hands, blocked, backlog) = {
            let now = self.now();
            let hands: Vec<_> =
                now.generations.iter().filter_map(Weak::upgrade).flat_map(|g| g.in_hand()).collect();
            let blocked = now.upstream.upgrade().is_some_and(|upstream| upstream.is_blocked());
            (now.phase, now.since, now.trouble.clone(), hands, blocked, now.backlog)
        };
        let stuck = self.stuck(phase, &hands);
        let store_answers =
            !hands.iter().any(|hand| matches!(hand.waits(), (Waits::Store, for_long) if for_long > STORE));
        AmqpReport {
            queue: self.0.queue.clone(),
            phase,
            since: since.elapsed(),
            trouble,
            in_flight: hands.len(),
            oldest: hands.iter().min_by_key(|hand| hand.since).map(|hand| OldestDelivery::of(hand)),
            blocked,
            backlog,
            is_ready: phase == Phase::Consuming && store_answers && stuck.is_none(),
            stuck,
            counts: self.0.metrics.counts(),
        }
    }

    fn stuck(&self, phase: Phase, hands: &[Arc<Hand>]) -> Option<String> {
        match phase {
            Phase::NotStarted => return None,
            Phase::Ended | Phase::Failed => return Some("the consumer has ended".to_owned()),
            _ => {}
        }
        let turned = self.0.progress.since_turn();
        if phase != Phase::Stopping && turned > TURN {
            return Some(format!("the consumer's loop has not turned for {} s", turned.as_secs()));
        }
        let limit = STALL + 2 * Duration::from_millis(self.0.backoff.load(Ordering::Relaxed));
        let idle = self.0.progress.idle();
        let stalls = |hand: &Arc<Hand>| match hand.waits() {
            (Waits::Turn, _) => true,
            // The time it waits for is long over.
            (Waits::Busy | Waits::Retry, for_long) => for_long > limit,
            _ => false,
        };
        let stalled = !hands.is_empty() && idle > limit && hands.iter().all(stalls);
        stalled.then(|| {
            format!(
                "{} messages are in hand, and nothing has happened to them for {} s",
                hands.len(),
                idle.as_secs()
            )
        })
    }

    pub(crate) fn metrics(&self) -> &AmqpMetrics {
        &self.0.metrics
    }

    pub(crate) fn turned(&self) {
        self.0.progress.turned();
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.0.progress
    }

    /// A wait between attempts may take so long.
    pub(crate) fn backs_off(&self, longest: Duration) {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX).min(24 * 3600 * 1000);
        self.0.backoff.store(longest, Ordering::Relaxed);
    }

    /// True while a message in hand is on its way to being settled, and does not wait for a time or another worker.
    pub(crate) fn is_working(&self) -> bool {
        let generations: Vec<_> = self.now().generations.iter().filter_map(Weak::upgrade).collect();
        let works = |waits| matches!(waits, Waits::Turn | Waits::Store | Waits::Handler | Waits::Burial);
        generations.iter().any(|generation| {
            generation.is_live() && generation.in_hand().iter().any(|hand| works(hand.waits().0))
        })
    }

    /// It does something else now. A trouble stays until there is another one, or it consumes again.
    pub(crate) fn is_now(&self, phase: Phase, trouble: Option<String>) {
        self.turned();
        let mut now = self.now();
        // Nothing comes after the end, and after a stop only that.
        let is_end = |phase| matches!(phase, Phase::Ended | Phase::Failed);
        if is_end(now.phase) || (now.phase == Phase::Stopping && !is_end(phase)) {
            return;
        }
        if now.phase != phase {
            (now.phase, now.since) = (phase, Instant::now());
        }
        match (phase, trouble) {
            (Phase::Consuming, _) => now.trouble = None,
            (_, Some(trouble)) => now.trouble = Some(trouble),
            _ => {}
        }
    }

    pub(crate) fn consumes_on(&self, generation: &Arc<Generation>) {
        let mut now = self.now();
        now.generations.retain(|generation| generation.strong_count() > 0);
        now.generations.push(Arc::downgrade(generation));
        drop(now);
        self.is_now(Phase::Consuming, None);
    }

    /// So many messages are ready in the queue.
    pub(crate) fn has_backlog(&self, backlog: Option<u32>) {
        self.now().backlog = backlog;
    }

    pub(crate) fn publishes_on(&self, upstream: &Arc<Upstream>) {
        self.now().upstream = Arc::downgrade(upstream);
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AmqpHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report().fmt(f)
    }
}

#[cfg(test)]
mod tests;
