//! One channel with one consumer, and which of its deliveries are in hand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ackonce::CancellationToken;
use lapin::Channel;
use lapin::types::ShortString;
use tokio::sync::Notify;

use super::hand::Hand;
use super::progress::Progress;
use crate::AmqpMetrics;
use crate::tracker::{AckTracker, Frame, Reach};

/// One channel with one consumer, from `basic.consume` to its end.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) channel: Channel,
    pub(crate) queue: ShortString,
    pub(crate) metrics: AmqpMetrics,
    pub(super) progress: Arc<Progress>,
    /// The longest wait of a delivery before it is given back; the broker's time-out is not far then.
    pub(crate) max_age: Duration,
    /// The waits of the delay queues, in the order of a message's delays.
    waits: Arc<[Duration]>,
    /// The number of settled deliveries that are worth a frame at once: so few that the broker has most of the prefetch to
    /// send on.
    pub(crate) enough: usize,
    /// Told whenever a delivery is closed, or the channel is to end.
    pub(crate) wake: Notify,
    /// Cancelled when the channel is of no use any more.
    pub(crate) dead: CancellationToken,
    live: AtomicBool,
    /// The consumer is cancelled: no more deliveries.
    ending: AtomicBool,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) tracker: AckTracker,
    /// Deliveries in hand; a delivery that nobody holds any more drops out.
    pub(super) hands: BTreeMap<u64, Weak<Hand>>,
}

impl Generation {
    pub(crate) fn new(
        channel: Channel,
        queue: ShortString,
        metrics: AmqpMetrics,
        progress: Arc<Progress>,
        max_age: Duration,
        waits: Arc<[Duration]>,
        prefetch: u16,
    ) -> Self {
        Self {
            channel,
            queue,
            metrics,
            progress,
            max_age,
            waits,
            enough: usize::from(prefetch / 8).max(1),
            wake: Notify::new(),
            dead: CancellationToken::new(),
            live: AtomicBool::new(true),
            ending: AtomicBool::new(false),
            books: Mutex::default(),
        }
    }

    /// The delay queue's wait of a message that has been delayed `hops` times; zero without delay queues.
    pub(crate) fn wait(&self, hops: u32) -> Duration {
        let Some(last) = self.waits.len().checked_sub(1) else { return Duration::ZERO };
        self.waits[usize::try_from(hops).unwrap_or(last).min(last)]
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// The channel is gone, and its tags mean nothing any more.
    pub(crate) fn kill(&self) {
        self.live.store(false, Ordering::Release);
        self.dead.cancel();
        self.wake.notify_one();
    }

    /// No more deliveries come; those in hand may still be closed.
    pub(crate) fn no_more(&self) {
        self.ending.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// True if nothing is left to do on this channel.
    pub(crate) fn is_over(&self) -> bool {
        !self.is_live() || self.ending.load(Ordering::Acquire) && self.books().tracker.open() == 0
    }

    /// True if deliveries of it are in hand.
    pub(crate) fn has_open(&self) -> bool {
        self.books().tracker.open() > 0
    }

    /// The frames for the broker, the number of messages that they close, and the number beyond a gap.
    pub(crate) fn take(&self, reach: Reach) -> (Vec<Frame>, usize, usize) {
        let tracker = &mut self.books().tracker;
        let before = tracker.waiting();
        let frames = tracker.take(reach);
        (frames, before - tracker.waiting(), tracker.waiting())
    }

    /// True if enough wait for a frame at once.
    pub(crate) fn enough(&self) -> Option<Reach> {
        (self.waiting() >= self.enough).then_some(Reach::Run)
    }

    /// The number of deliveries closed here and not yet to the broker.
    pub(crate) fn waiting(&self) -> usize {
        self.books().tracker.waiting()
    }

    /// Deliveries that are still in work or waiting.
    pub(crate) fn in_hand(&self) -> Vec<Arc<Hand>> {
        self.books().hands.values().filter_map(Weak::upgrade).collect()
    }

    /// Books that the messages of these tags are settled: under one lock, and the broker is told of them together.
    pub(crate) fn settled(&self, tags: impl ExactSizeIterator<Item = u64>) {
        let count = tags.len();
        let mut closed = 0;
        self.close(|books| {
            closed = tags
                .filter(|tag| {
                    books.hands.remove(tag);
                    books.tracker.settled(*tag)
                })
                .count();
            closed > 0
        });
        if closed < count {
            // The broker delivers them again, and their records are found.
            self.metrics.redeliveries_expected(count - closed);
        }
    }

    /// Books that the message of this tag goes back to the broker. False if its channel is gone.
    pub(crate) fn returned(&self, tag: u64) -> bool {
        self.close(|books| {
            books.hands.remove(&tag);
            books.tracker.returned(tag)
        })
    }

    fn close(&self, book: impl FnOnce(&mut Books) -> bool) -> bool {
        let booked = self.is_live() && book(&mut self.books());
        if booked {
            self.progress.progressed();
            self.wake.notify_one();
        }
        booked
    }

    /// Held for a few steps, never across an await.
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
