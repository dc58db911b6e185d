//! Wakes the poll thread: from the driver's threads when records arrive, from the runner when there is room.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A flag that one thread waits for. Setting it again before the thread has looked costs one atomic operation.
#[derive(Debug, Default)]
pub(crate) struct Waker {
    set: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Waker {
    pub(crate) fn wake(&self) {
        if !self.set.swap(true, Ordering::AcqRel) {
            // The lock orders this before or after the waiter's look at the flag, so that no wake-up is lost.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed.notify_one();
        }
    }

    /// Waits until woken, at most this long, and clears the flag.
    pub(crate) fn wait(&self, most: Duration) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.set.load(Ordering::Acquire) {
            let waited = self.changed.wait_timeout_while(guard, most, |()| !self.set.load(Ordering::Acquire));
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        // A swap, not a store: the waiter has to see all that came before a wake-up that found the flag set.
        self.set.swap(false, Ordering::AcqRel);
    }
}
