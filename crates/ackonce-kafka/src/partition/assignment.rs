//! One assignment of one partition, as the poll thread, the runner and the retry publisher share it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::budget::Load;
use crate::delays::Delays;
use crate::driver::Waker;
use crate::tracker::{PartitionId, PartitionTracker, Status};

/// One assignment of one partition, from its start to its revocation or its next seek.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) id: PartitionId,
    /// False once the partition was revoked or sought: nothing of it is started any more.
    live: AtomicBool,
    tracker: Mutex<PartitionTracker>,
    /// Copies of the tracker's numbers, for the poll thread's look at every turn.
    open: AtomicUsize,
    ahead: AtomicUsize,
    /// The bytes of all deliveries that are still held.
    pub(super) bytes: AtomicUsize,
    pub(super) claiming: AtomicUsize,
    pub(super) running: AtomicUsize,
    /// The poll thread waits until no more than this many are open.
    wanted: AtomicUsize,
    handed_back: AtomicBool,
    wake: Arc<Waker>,
    /// The delays of the retry topics, in the order of the hops.
    pub(super) delays: Delays,
}

impl Assignment {
    pub(crate) fn new(id: PartitionId, wake: Arc<Waker>, delays: Delays) -> Arc<Self> {
        Self::with(id, wake, delays, PartitionTracker::new())
    }

    fn with(id: PartitionId, wake: Arc<Waker>, delays: Delays, tracker: PartitionTracker) -> Arc<Self> {
        Arc::new(Self {
            id,
            live: AtomicBool::new(true),
            tracker: Mutex::new(tracker),
            open: AtomicUsize::new(0),
            ahead: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            claiming: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
            handed_back: AtomicBool::new(false),
            wake,
            delays,
        })
    }

    /// The same partition after a seek back: earlier deliveries change nothing any more.
    pub(crate) fn restarted(&self) -> Arc<Self> {
        self.end();
        let tracker = self.tracker().restarted();
        Self::with(self.id.clone(), self.wake.clone(), self.delays.clone(), tracker)
    }

    /// The same partition with other records: no offset that was committed means anything any more.
    pub(crate) fn renewed(&self) -> Arc<Self> {
        self.end();
        Self::new(self.id.clone(), self.wake.clone(), self.delays.clone())
    }

    /// Deliveries that have not begun are stopped; running handlers go on under their leases.
    pub(crate) fn end(&self) {
        self.live.store(false, Ordering::Release);
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Held for a few steps, never across a call into the driver or an await.
    pub(crate) fn tracker(&self) -> MutexGuard<'_, PartitionTracker> {
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            messages: self.open.load(Ordering::Acquire),
            bytes: self.bytes.load(Ordering::Relaxed),
            ahead: self.ahead.load(Ordering::Acquire),
        }
    }

    /// Handlers of this partition that run now, their results' recording included.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// Deliveries that wait for the store's answer to their claims.
    pub(crate) fn claiming(&self) -> usize {
        self.claiming.load(Ordering::Acquire)
    }

    /// Wakes the poll thread once no more than `open` deliveries are open.
    pub(crate) fn wake_at(&self, open: usize) {
        self.wanted.store(open, Ordering::Release);
    }

    /// True if offsets were handed back since the last call.
    pub(crate) fn take_handed_back(&self) -> bool {
        self.handed_back.swap(false, Ordering::AcqRel)
    }

    /// Records the end, or the state, of an offset.
    pub(crate) fn mark(&self, offset: i64, status: Status) {
        self.mark_all(std::iter::once((offset, status)));
    }

    pub(super) fn mark_all(&self, all: impl Iterator<Item = (i64, Status)>) {
        let (mut tracker, now) = (self.tracker(), Instant::now());
        for (offset, status) in all {
            if tracker.mark(offset, status, now) && status == Status::Abandoned {
                self.handed_back.store(true, Ordering::Release);
            }
        }
        self.publish(&tracker);
    }

    /// Copies the tracker's numbers.
    pub(super) fn publish(&self, tracker: &PartitionTracker) {
        self.open.store(tracker.open(), Ordering::Release);
        self.ahead.store(tracker.ahead(), Ordering::Release);
    }

    /// After deliveries have ended: the poll thread may have waited for that.
    pub(crate) fn ended(&self) {
        let wanted = self.open.load(Ordering::Acquire) <= self.wanted.load(Ordering::Acquire);
        if wanted || !self.is_live() || self.handed_back.load(Ordering::Acquire) {
            self.wake.wake();
        }
    }
}
