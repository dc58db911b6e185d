//! The leases that a heartbeat keeps, and the decision which of them to renew and which to give up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::Result;
use crate::observe::Metrics;
use crate::settle::Settled;

use super::grant::Grants;

/// True if a lease was claimed or renewed so long ago that its handler has to end; none is started then.
pub(crate) fn is_nearly_over(age: Duration, lease: Duration) -> bool {
    age >= lease * 2 / 3
}

pub(super) struct Shared {
    pub(super) lease: Duration,
    pub(super) window: Duration,
    pub(super) metrics: Arc<Metrics>,
    pub(super) held: Mutex<Groups>,
    /// Wakes the thread while it holds nothing. Not while it waits for something else: at a trickle each message is the
    /// first to be held.
    pub(super) wake: Notify,
    /// Wakes it to end.
    pub(super) end: Notify,
}

#[derive(Default)]
pub(super) struct Groups {
    pub(super) groups: Slab<Group>,
    pub(super) ended: bool,
}

pub(super) struct Group {
    pub(super) grants: Grants,
    /// When the request that last renewed it was sent.
    pub(super) renewed: Instant,
    /// Nobody may believe in the leases any more; cancelled as well, then.
    pub(super) lost: bool,
}

impl Group {
    /// True if these are its leases, not others like them.
    fn is(&self, grants: &Grants) -> bool {
        let firsts = self.grants.first().zip(grants.first());
        firsts.is_some_and(|(mine, other)| Arc::ptr_eq(mine, other))
    }

    pub(super) fn cancel(&self) {
        self.grants.iter().for_each(|grant| grant.cancelled.turn_on());
    }

    fn lose(&mut self) {
        self.lost = true;
        self.cancel();
    }
}

impl Shared {
    /// Held for a few map operations, never across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, Groups> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The interval between looks at the clock: seldom enough to cost nothing, and often enough for the tenth of the lease
    /// that is left after [`lose`](Group::lose).
    pub(super) fn tick(&self) -> Duration {
        self.lease / 24
    }

    /// Warns of leases that were not renewed in time and gives them up; returns those that are due for renewal.
    pub(super) fn due(&self, now: Instant) -> Vec<(usize, Grants)> {
        let mut held = self.lock();
        let mut due = Vec::new();
        for (index, group) in &mut held.groups {
            let age = now.saturating_duration_since(group.renewed);
            if age >= self.lease * 9 / 10 {
                group.lose();
            } else if is_nearly_over(age, self.lease) {
                group.cancel();
            }
            if age >= self.lease / 3 && !group.lost {
                due.push((index, group.grants.clone()));
            }
        }
        due
    }

    pub(super) fn renewed(&self, index: usize, grants: &Grants, sent: Instant, answers: &[Result<Settled>]) {
        let mut held = self.lock();
        // A group that ended meanwhile has settled its leases: nothing to say. Its index may be another's by now.
        let Some(group) = held.groups.get_mut(index).filter(|group| group.is(grants)) else { return };
        // In a batch some leases may be lost and others live: all are told, the run goes on for the live ones,
        // and the fence refuses the settle of the lost.
        let has = |expected| answers.iter().any(|answer| matches!(answer, Ok(is) if *is == expected));
        if has(Settled::Yes) {
            group.renewed = sent;
        } else if has(Settled::Lost) {
            group.lose();
        }
        if has(Settled::Lost) {
            group.cancel();
        }
    }
}
