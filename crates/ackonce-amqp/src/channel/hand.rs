//! A message in hand, and the step that it waits for.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackonce::adapter::Waits;
use lapin::Acker;

use crate::AmqpMessage;

/// A message in hand, and the step that it waits for.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(crate) message: AmqpMessage,
    pub(crate) tag: u64,
    pub(crate) since: Instant,
    pub(super) acker: Acker,
    waits: AtomicU8,
    /// The time of that note, in milliseconds since it came.
    noted: AtomicU64,
}

impl Hand {
    pub(super) fn new(mut delivery: lapin::message::Delivery) -> Self {
        Self {
            message: AmqpMessage::take(&mut delivery),
            tag: delivery.delivery_tag,
            since: Instant::now(),
            acker: delivery.acker,
            waits: AtomicU8::new(Waits::Turn as u8),
            noted: AtomicU64::new(0),
        }
    }

    /// The step that it waits for, and the time since.
    pub(crate) fn waits(&self) -> (Waits, Duration) {
        let number = usize::from(self.waits.load(Ordering::Relaxed));
        let waits = Waits::ALL.get(number).copied().unwrap_or(Waits::Turn);
        let noted = Duration::from_millis(self.noted.load(Ordering::Relaxed));
        (waits, self.since.elapsed().saturating_sub(noted))
    }

    /// Notes the step that it waits for from now on.
    pub(super) fn note(&self, waits: Waits) {
        let at = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.waits.store(waits as u8, Ordering::Relaxed);
        self.noted.store(at, Ordering::Relaxed);
    }
}
