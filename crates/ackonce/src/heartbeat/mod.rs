//! Keeps leases alive while handlers run, and says so when one is lost.
//!
//! It runs on a thread with a runtime of its own: a handler that blocks the executor must not cost it its
//! lease. Lateness is measured on the steady clock from before a request was sent, so the worker stops
//! believing in its lease before the store does. The clock is looked at while a renewal is under way as well: a store
//! that hangs takes no handler past the end of its lease.

mod grant;
mod leases;
mod renew;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::deduplicator::Deduplicator;
use crate::observe::Metrics;

pub(crate) use self::grant::{Grant, Grants};
pub(crate) use self::leases::is_nearly_over;
use self::leases::{Group, Shared};
use self::renew::renew_until_end;

/// The heartbeat of one runner. Ends its thread when dropped.
pub(crate) struct Heartbeat {
    shared: Arc<Shared>,
}

/// Holds a group of leases until dropped.
pub(crate) struct Hold {
    index: usize,
    shared: Arc<Shared>,
}

impl Heartbeat {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread or its runtime could not be made.
    pub(crate) fn start(
        store: Arc<dyn Deduplicator>,
        lease: Duration,
        window: Duration,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        // Stores may open a socket in the call.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Self::on(store, lease, window, metrics, |renewing| {
            let thread = std::thread::Builder::new().name("ackonce-heartbeat".into());
            let run = move || {
                runtime.block_on(renewing);
                // Nobody waits for blocking work that a store may have left.
                runtime.shutdown_background();
            };
            thread.spawn(run).map(drop)
        })
    }

    /// Starts it as a task of the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn spawn(
        store: Arc<dyn Deduplicator>,
        lease: Duration,
        window: Duration,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        Self::on(store, lease, window, metrics, |renewing| {
            drop(tokio::spawn(renewing));
            Ok(())
        })
    }

    /// Runs it where `spawn` says.
    pub(crate) fn on(
        store: Arc<dyn Deduplicator>,
        lease: Duration,
        window: Duration,
        metrics: Arc<Metrics>,
        spawn: impl FnOnce(BoxFuture<'static, ()>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            lease,
            window,
            metrics,
            held: Mutex::default(),
            wake: Notify::new(),
            end: Notify::new(),
        });
        spawn(Box::pin(renew_until_end(shared.clone(), store)))?;
        Ok(Self { shared })
    }

    /// Holds leases that were claimed by a request sent at `claimed`. Two thirds of the lease unrenewed, or lost, and
    /// they are cancelled.
    pub(crate) fn hold(&self, grants: Grants, claimed: Instant) -> Hold {
        let mut held = self.shared.lock();
        if held.groups.is_empty() {
            self.shared.wake.notify_one();
        }
        let index = held.groups.insert(Group { grants, renewed: claimed, lost: false });
        Hold { index, shared: self.shared.clone() }
    }
}

impl Hold {
    /// Tells the handlers under these leases to end.
    pub(crate) fn cancel(&self) {
        if let Some(group) = self.shared.lock().groups.get(self.index) {
            group.cancel();
        }
    }

    /// Holds one lease of these by itself, as long as it was last renewed with the others.
    pub(crate) fn part(&self, grant: Arc<Grant>) -> Self {
        let mut held = self.shared.lock();
        let (renewed, lost) =
            held.groups.get(self.index).map_or((Instant::now(), true), |group| (group.renewed, group.lost));
        let index = held.groups.insert(Group { grants: [grant].into_iter().collect(), renewed, lost });
        Self { index, shared: self.shared.clone() }
    }

    /// Ready once the leases are lost.
    pub(crate) async fn lost(&self) {
        // Those of a group are cancelled together.
        let first = self.shared.lock().groups.get(self.index).and_then(|group| group.grants.first().cloned());
        if let Some(grant) = first {
            grant.cancelled.on().await;
        }
        while self.shared.lock().groups.get(self.index).is_some_and(|group| !group.lost) {
            // Short beside the tenth of the lease that is left.
            tokio::time::sleep(self.shared.lease / 100).await;
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake.notify_one();
        self.shared.end.notify_one();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.lock().groups.try_remove(self.index);
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("lease", &self.shared.lease).finish_non_exhaustive()
    }
}
