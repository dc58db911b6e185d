//! What a runner says: one event and one counter per decision.
//!
//! Events have the target `ackonce` and the fields `decision`, `class`, `scope`, `id`, `attempt`, `fence`, so
//! that a filter on the target is the audit trail. Counters go to the `metrics` facade with the labels
//! `scope` and `class`; install a recorder before the runner is made.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, counter, gauge};

use crate::{Class, Key, Lease, Record, State};

/// What a runner has decided since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Deliveries taken in; `ackonce_delivered_total`.
    pub delivered: u64,
    /// Handler runs begun; `ackonce_run_total`.
    pub run: u64,
    /// Deliveries found done before; `ackonce_duplicate_total`.
    pub duplicate: u64,
    /// Deliveries found buried before, whose effect did not happen; `ackonce_duplicate_of_buried_total`. Redrive the
    /// record before its dead letter is sent again.
    pub duplicate_of_buried: u64,
    /// Records of buried messages redriven by their dead letters, which were published again;
    /// `ackonce_redriven_total`.
    pub redriven: u64,
    /// Claims answered busy, repeats included; `ackonce_busy_total`.
    pub busy: u64,
    /// The same ID under another payload; `ackonce_mismatch_total`.
    pub mismatch: u64,
    /// Runs to be repeated after a back-off; `ackonce_retried_total`.
    pub retried: u64,
    /// Of those, the ones that had used up their attempts and had no dead-letter place to be buried in;
    /// `ackonce_past_attempts_total`.
    pub past_attempts: u64,
    /// Messages buried; `ackonce_buried_total`.
    pub buried: u64,
    /// Of those, the ones whose dead letter holds a part of the message only; `ackonce_letters_reduced_total`.
    pub letters_reduced: u64,
    /// Of those, the ones that the dead-letter place will never take, or that have none: the store's record is all that is left;
    /// `ackonce_buried_without_letter_total`.
    pub buried_without_letter: u64,
    /// Missed slots of a scheduled job that were not run, by policy; `ackonce_skipped_total`.
    pub skipped: u64,
    /// Leases lost while their handler ran; `ackonce_lease_lost_total`.
    pub lease_lost: u64,
    /// Handlers that succeeded although their claim was gone: the effect may be doubled;
    /// `ackonce_completed_not_recorded_total`.
    pub completed_not_recorded: u64,
    /// Store calls that failed and were repeated; `ackonce_store_unavailable_total`.
    pub store_unavailable: u64,
    /// The age of the oldest duplicate seen, in whole seconds; `ackonce_oldest_duplicate_seconds`. Compare it
    /// with the window.
    pub oldest_duplicate_s: u64,
}

macro_rules! meters {
    ($($field:ident $name:literal)*) => {
        #[derive(Debug)]
        pub(crate) struct Meters {
            pub(crate) class: Class,
            $(pub(crate) $field: Meter,)*
            oldest_duplicate_s: AtomicU64,
            oldest_gauge: Gauge,
        }
        impl Meters {
            pub(crate) fn new(scope: &str, class: Class) -> Self {
                let scope = scope.to_owned();
                let class_name = class.as_str();
                Self {
                    class,
                    $($field: Meter(AtomicU64::new(0), counter!($name, "scope" => scope.clone(), "class" => class_name)),)*
                    oldest_duplicate_s: AtomicU64::new(0),
                    oldest_gauge: gauge!("ackonce_oldest_duplicate_seconds", "scope" => scope, "class" => class_name),
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
meters! {
    delivered "ackonce_delivered_total"
    run "ackonce_run_total"
    duplicate "ackonce_duplicate_total"
    redriven "ackonce_redriven_total"
    busy "ackonce_busy_total"
    mismatch "ackonce_mismatch_total"
    retried "ackonce_retried_total"
    past_attempts "ackonce_past_attempts_total"
    duplicate_of_buried "ackonce_duplicate_of_buried_total"
    buried "ackonce_buried_total"
    letters_reduced "ackonce_letters_reduced_total"
    buried_without_letter "ackonce_buried_without_letter_total"
    skipped "ackonce_skipped_total"
    lease_lost "ackonce_lease_lost_total"
    completed_not_recorded "ackonce_completed_not_recorded_total"
    store_unavailable "ackonce_store_unavailable_total"
}

pub(crate) struct Meter(AtomicU64, Counter);

impl Meter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
        self.1.increment(n);
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One audit event. The message ID is escaped, so no sender can write into the log's structure.
macro_rules! decide {
    ($level:ident, $meters:expr, $decision:literal, $key:expr, $lease:expr $(, $($field:tt)*)?) => {{
        let (attempt, fence) = $crate::observe::numbers($lease);
        tracing::$level!(target: "ackonce", decision = $decision, class = $meters.class.as_str(),
            scope = $key.scope().name(), id = %$key.id().escape_ascii(), attempt, fence $(, $($field)*)?)
    }};
}
pub(crate) use decide;

pub(crate) fn numbers(lease: Option<&Lease>) -> (u32, u64) {
    lease.map_or((0, 0), |l| (l.attempt, l.fence))
}

impl Meters {
    pub(crate) fn duplicate(&self, key: &Key, record: &Record, place: impl Fn() -> String) {
        if record.state == State::Buried {
            self.duplicate_of_buried.add(1);
            let reason = record.reason.as_deref().unwrap_or_default();
            decide!(
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
        decide!(debug, self, "duplicate", key, None, age_s = age);
    }
}

/// A log line that may repeat is written once in ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    quiet: Mutex<Quiet>,
    /// A line was written, and its end was not.
    said: AtomicBool,
}

#[derive(Debug, Default)]
struct Quiet {
    last: Option<Instant>,
    /// The last call, whether its line was written or not.
    asked: Option<Instant>,
    left_out: u64,
}

impl Throttle {
    const PAUSE: Duration = Duration::from_secs(10);
    /// A trouble is over when it has not been met for so long: a full store still answers some questions.
    const OVER: Duration = Duration::from_secs(1);

    /// Writes the line, which is told how many like it were left out since the last one.
    pub(crate) fn warn(&self, write: impl FnOnce(u64)) {
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        quiet.asked = Some(now);
        if quiet.last.is_some_and(|last| now.duration_since(last) < Self::PAUSE) {
            quiet.left_out += 1;
            return;
        }
        let left_out = std::mem::take(&mut quiet.left_out);
        quiet.last = Some(now);
        drop(quiet);
        self.said.store(true, Ordering::Relaxed);
        write(left_out);
    }

    /// Whether a trouble that was said is over: its end is worth a line, too, and only one.
    pub(crate) fn over(&self) -> bool {
        self.said.load(Ordering::Relaxed)
            && self.is_over(Instant::now())
            && self.said.swap(false, Ordering::Relaxed)
    }

    fn is_over(&self, now: Instant) -> bool {
        let quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        quiet.asked.is_some_and(|asked| now.duration_since(asked) >= Self::OVER)
    }
}

/// The text of a panic that was caught.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_end_of_a_trouble_is_said_once_and_only_if_the_trouble_was() {
        let throttle = Throttle::default();
        assert!(!throttle.over());
        throttle.warn(|_| {});
        let now = Instant::now();
        assert!(!throttle.is_over(now), "it was met a moment ago");
        assert!(throttle.is_over(now + Throttle::OVER));
        throttle.quiet.lock().unwrap().asked = now.checked_sub(Throttle::OVER);
        assert!(throttle.over() && !throttle.over());
    }
}
