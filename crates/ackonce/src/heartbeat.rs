//! Keeps leases alive while handlers run, and says so when one is lost.
//!
//! It runs on a thread with a runtime of its own: a handler that blocks the executor must not cost it its
//! lease. Lateness is measured on the steady clock from before a request was sent, so the worker stops
//! believing in its lease before the store does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::switch::Switch;
use crate::{Deduplicator, Lease, Result, Settle, Settled, Settlement};

/// Those of one group, most often one.
pub(crate) type Leases = SmallVec<[Arc<Lease>; 1]>;

/// The heartbeat of one runner. Ends its thread when dropped.
pub(crate) struct Heartbeat {
    shared: Arc<Shared>,
}

struct Shared {
    lease: Duration,
    window: Duration,
    held: Mutex<Held>,
    /// Wakes the thread when there is something to hold, or to end.
    wake: Notify,
}

#[derive(Default)]
struct Held {
    groups: BTreeMap<u64, Group>,
    next: u64,
    ended: bool,
}

struct Group {
    leases: Leases,
    /// When the request that last renewed it was sent.
    renewed: Instant,
    cancelled: Arc<Switch>,
    /// Nobody may believe in the leases any more; cancelled as well, then.
    lost: bool,
}

impl Group {
    fn lose(&mut self) {
        self.lost = true;
        self.cancelled.turn_on();
    }
}

/// Holds a group of leases until dropped.
pub(crate) struct Hold {
    id: u64,
    shared: Arc<Shared>,
    /// Two thirds of the lease have passed unrenewed, or it is lost.
    pub(crate) cancelled: Arc<Switch>,
}

impl Heartbeat {
    pub(crate) fn start(
        store: Arc<dyn Deduplicator>,
        lease: Duration,
        window: Duration,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { lease, window, held: Mutex::default(), wake: Notify::new() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let on_thread = shared.clone();
        std::thread::Builder::new()
            .name("ackonce-heartbeat".into())
            .spawn(move || runtime.block_on(beat(&on_thread, store.as_ref())))?;
        Ok(Self { shared })
    }

    /// Holds `leases`, which were claimed by a request sent at `claimed`.
    pub(crate) fn hold(&self, leases: Leases, claimed: Instant) -> Hold {
        let mut held = self.shared.lock();
        let id = held.next;
        held.next += 1;
        if held.groups.is_empty() {
            self.shared.wake.notify_one();
        }
        let cancelled = Arc::<Switch>::default();
        held.groups.insert(id, Group { leases, renewed: claimed, cancelled: cancelled.clone(), lost: false });
        Hold { id, shared: self.shared.clone(), cancelled }
    }
}

impl Hold {
    /// Ready once the leases are lost.
    pub(crate) async fn lost(&self) {
        self.cancelled.on().await;
        while self.shared.lock().groups.get(&self.id).is_some_and(|group| !group.lost) {
            // Short beside the tenth of the lease that is left.
            tokio::time::sleep(self.shared.lease / 100).await;
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.lock().groups.remove(&self.id);
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("lease", &self.shared.lease).finish_non_exhaustive()
    }
}

impl Shared {
    /// Held for a few map operations, never across an await.
    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Warns and gives up on what was not renewed in time; returns what is due for renewal.
    fn due(&self, now: Instant) -> Vec<(u64, Leases)> {
        let mut held = self.lock();
        let mut due = Vec::new();
        for (id, group) in &mut held.groups {
            let age = now.saturating_duration_since(group.renewed);
            if age >= self.lease * 9 / 10 {
                group.lose();
            } else if age >= self.lease * 2 / 3 {
                group.cancelled.turn_on();
            }
            if age >= self.lease / 3 && !group.lost {
                due.push((*id, group.leases.clone()));
            }
        }
        due
    }

    fn renewed(&self, id: u64, sent: Instant, answers: &[Settled]) {
        let mut held = self.lock();
        // A group that ended meanwhile has settled its leases: nothing to say.
        let Some(group) = held.groups.get_mut(&id) else { return };
        // In a batch some leases may be lost and others live: all are told, the run goes on for the live ones,
        // and the fence refuses the settle of the lost.
        if answers.contains(&Settled::Yes) {
            group.renewed = sent;
        } else {
            group.lose();
        }
        if answers.contains(&Settled::Lost) {
            group.cancelled.turn_on();
        }
    }
}

async fn beat(shared: &Shared, store: &dyn Deduplicator) {
    loop {
        let (idle, ended) = {
            let held = shared.lock();
            (held.groups.is_empty(), held.ended)
        };
        if ended {
            return;
        }
        if idle {
            shared.wake.notified().await;
            continue;
        }
        let sent = Instant::now();
        let due = shared.due(sent);
        if !due.is_empty() {
            match tokio::time::timeout(shared.lease / 3, extend(shared, store, &due)).await {
                Ok(Ok(answers)) => {
                    let mut rest = answers.as_slice();
                    for (id, leases) in &due {
                        let (mine, others) = rest.split_at(leases.len().min(rest.len()));
                        shared.renewed(*id, sent, mine);
                        rest = others;
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(target: "ackonce", %error, "heartbeat: the store could not renew leases")
                }
                Err(_) => {
                    tracing::warn!(target: "ackonce", "heartbeat: the store did not answer in a third of the lease")
                }
            }
        }
        tokio::time::sleep(shared.lease / 12).await;
    }
}

async fn extend(shared: &Shared, store: &dyn Deduplicator, due: &[(u64, Leases)]) -> Result<Vec<Settled>> {
    let action = Settle::Extend { lease: shared.lease, window: shared.window };
    let settlements: Vec<_> =
        due.iter().flat_map(|(_, leases)| leases).map(|l| Settlement::new(l, action.clone())).collect();
    store.settle(&settlements).await
}
