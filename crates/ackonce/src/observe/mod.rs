//! The signals of a runner: one event and one counter for each decision, the times of handler and store, and gauges.
//!
//! Events have the target `ackonce` and the fields `decision`, `class`, `scope`, `id`, `attempt`, `fence`, so
//! that a filter on the target is the audit trail. Metrics go to the `metrics` facade with the labels
//! `scope` and `class`; install a recorder before the runner is made.

mod activity;
mod in_flight;
pub mod metric;
mod throttle;
pub mod trace;

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram};

pub(crate) use self::activity::register;
pub use self::activity::{Activity, RunnerActivity, RunningMessage, RunningNow};
pub(crate) use self::in_flight::InFlight;
pub(crate) use self::throttle::Throttle;

use self::metric::Metric;
use crate::claim::Lease;
use crate::class::Class;
use crate::key::Key;
use crate::record::{Record, State};

/// The labels of a runner's metrics.
const BY_SCOPE: &[&str] = &["scope", "class"];

const OLDEST_DUPLICATE: Metric =
    Metric::gauge("ackonce_oldest_duplicate_seconds", BY_SCOPE, "Age of the oldest duplicate seen")
        .in_seconds();
const IN_FLIGHT: Metric = Metric::gauge(
    "ackonce_in_flight",
    BY_SCOPE,
    "Deliveries taken in and not over yet, waiting ones included",
);
const RUNNING: Metric = Metric::gauge("ackonce_running", BY_SCOPE, "Messages that are with the handler now");
const HANDLER_TIME: Metric =
    Metric::durations("ackonce_handler_seconds", BY_SCOPE, "Time of a handler's run; a batch is one run");
const END_TO_END: Metric = Metric::durations(
    "ackonce_end_to_end_seconds",
    BY_SCOPE,
    "Time from a message's publishing, or its arrival where its publisher does not say, to its settlement",
);
const STORE_TIME: Metric = Metric::durations(
    "ackonce_store_seconds",
    &["scope", "class", "call"],
    "Time from a call of the store (claim, settle or extend) to its answer or error",
);

macro_rules! counts {
    ($($(#[doc = $more:literal])* $field:ident $name:literal $meaning:literal)*) => {
        /// The decisions of a runner since it was made.
        ///
        /// `delivered` is the sum of `completed`, `stale`, `duplicate`, `duplicate_of_buried`, `buried`, `handed_back` and
        /// the deliveries that are still in flight.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counts {
            $(
                #[doc = concat!($meaning, "; `", $name, "`.")]
                $(#[doc = $more])*
                pub $field: u64,
            )*
            /// The age of the oldest duplicate seen, in whole seconds; `ackonce_oldest_duplicate_seconds`. Compare it
            /// with the window.
            pub oldest_duplicate_s: u64,
        }

        /// The metrics of a runner.
        pub const METRICS: &[Metric] = &[
            $(Metric::counter($name, BY_SCOPE, $meaning),)*
            OLDEST_DUPLICATE,
            IN_FLIGHT,
            RUNNING,
            HANDLER_TIME,
            END_TO_END,
            STORE_TIME,
        ];

        #[derive(Debug)]
        pub(crate) struct Metrics {
            pub(crate) class: Class,
            /// The scope's name.
            pub(crate) scope: String,
            $(pub(crate) $field: Count,)*
            oldest_duplicate_s: AtomicU64,
            oldest_gauge: Gauge,
            pub(crate) in_flight: Gauge,
            pub(crate) running: Gauge,
            pub(crate) handler_time: Histogram,
            pub(crate) end_to_end: Histogram,
            pub(crate) claim_time: Histogram,
            pub(crate) settle_time: Histogram,
            pub(crate) extend_time: Histogram,
        }

        impl Metrics {
            pub(crate) fn new(scope: &str, class: Class) -> Self {
                METRICS.iter().for_each(Metric::describe);
                let labels = [scope, class.as_str()];
                let counter = |name, meaning| {
                    Count(AtomicU64::new(0), Metric::counter(name, BY_SCOPE, meaning).counter_of(&labels))
                };
                let store_time = |call| STORE_TIME.histogram_of(&[scope, class.as_str(), call]);
                Self {
                    class,
                    scope: scope.to_owned(),
                    $($field: counter($name, $meaning),)*
                    oldest_duplicate_s: AtomicU64::new(0),
                    oldest_gauge: OLDEST_DUPLICATE.gauge_of(&labels),
                    in_flight: IN_FLIGHT.gauge_of(&labels),
                    running: RUNNING.gauge_of(&labels),
                    handler_time: HANDLER_TIME.histogram_of(&labels),
                    end_to_end: END_TO_END.histogram_of(&labels),
                    claim_time: store_time("claim"),
                    settle_time: store_time("settle"),
                    extend_time: store_time("extend"),
                }
            }

            pub(crate) fn counts(&self) -> Counts {
                Counts {
                    $($field: self.$field.0.load(Ordering::Relaxed),)*
                    oldest_duplicate_s: self.oldest_duplicate_s.load(Ordering::Relaxed),
                }
            }
        }
    };
}
counts! {
    delivered "ackonce_delivered_total" "Deliveries taken in"
    completed "ackonce_completed_total" "Deliveries that were run and recorded"
    duplicate "ackonce_duplicate_total" "Deliveries found done before"
    duplicate_of_buried "ackonce_duplicate_of_buried_total"
        "Deliveries found buried before, whose effect did not happen"
    stale "ackonce_stale_total"
        "Deliveries settled without a run: a newer version of their entity took effect"
    redriven "ackonce_redriven_total"
        "Records of buried messages redriven by their dead letters, which were published again"
    buried "ackonce_buried_total" "Deliveries whose message was buried"
    /// After a stop, a revocation, a store that does not answer, or a caller that went away.
    handed_back "ackonce_handed_back_total" "Deliveries that ended unsettled: their sender delivers them again"
    letters_reduced "ackonce_letters_reduced_total"
        "Burials whose dead letter holds a part of the message only"
    /// The store's record is all that is left of them.
    buried_without_letter "ackonce_buried_without_letter_total"
        "Burials whose letter the dead-letter place will never take, or that have no such place"
    skipped "ackonce_skipped_total" "Missed slots of a scheduled job that were not run, by policy"
    run "ackonce_run_total" "Handler runs begun"
    step "ackonce_step_total" "Steps of handlers that were run and recorded"
    step_recorded "ackonce_step_recorded_total" "Steps that did not run again: an earlier attempt had recorded them"
    retried "ackonce_retried_total" "Runs to be repeated after a back-off"
    past_attempts "ackonce_past_attempts_total"
        "Of those, the ones that had used up their attempts and had no dead-letter place to be buried in"
    busy "ackonce_busy_total" "Claims answered busy, repeats included"
    mismatch "ackonce_mismatch_total" "Claims whose message ID came before with another payload"
    lease_lost "ackonce_lease_lost_total" "Leases lost while their handler ran"
    completed_not_recorded "ackonce_completed_not_recorded_total"
        "Handlers that succeeded although their claim was gone: the effect may be doubled"
    store_unavailable "ackonce_store_unavailable_total" "Store calls that failed and were repeated"
}

pub(crate) struct Count(AtomicU64, Counter);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
        self.1.increment(n);
    }
}

impl std::fmt::Debug for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One audit event. The message ID is escaped, so no sender can write into the log's structure.
macro_rules! decision {
    ($level:ident, $metrics:expr, $decision:expr, $key:expr, $lease:expr $(, $($field:tt)*)?) => {{
        let (attempt, fence) = $crate::observe::attempt_and_fence($lease);
        tracing::$level!(target: "ackonce", decision = $decision, class = $metrics.class.as_str(),
            scope = $key.scope().name(), id = %$key.id().escape_ascii(), attempt, fence $(, $($field)*)?)
    }};
}
pub(crate) use decision;

pub(crate) fn attempt_and_fence(lease: Option<&Lease>) -> (u32, u64) {
    lease.map_or((0, 0), |l| (l.attempt, l.fence))
}

impl Metrics {
    pub(crate) fn duplicate(&self, key: &Key, record: &Record, place: impl Fn() -> String) {
        if record.state == State::Buried {
            self.duplicate_of_buried.add(1);
            let reason = record.reason.as_deref().unwrap_or_default();
            decision!(
                warn,
                self,
                "duplicate-of-buried",
                key,
                None,
                age_s = record.age.as_secs(),
                reason,
                place = place(),
                "its effect did not happen; publish its dead letter again or redrive the record to run it"
            );
            return;
        }
        self.duplicate.add(1);
        let age = record.age.as_secs();
        let oldest = self.oldest_duplicate_s.fetch_max(age, Ordering::Relaxed).max(age);
        #[allow(clippy::cast_precision_loss, reason = "a gauge of seconds")]
        self.oldest_gauge.set(oldest as f64);
        decision!(debug, self, "duplicate", key, None, age_s = age);
    }
}

/// The text of a panic that was caught; `no text` for a panic whose payload is not text.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
