//! Keeps leases alive while handlers run, and says so when one is lost.
//!
//! It runs on a thread with a runtime of its own: a handler that blocks the executor must not cost it its
//! lease. Lateness is measured on the steady clock from before a request was sent, so the worker stops
//! believing in its lease before the store does. The clock is looked at while a renewal is under way as well: a store
//! that hangs takes no handler past the end of its lease.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use slab::Slab;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::chain::chain;
use crate::claim::Lease;
use crate::coalesce::apart;
use crate::deduplicator::Deduplicator;
use crate::error::Result;
use crate::observe::{Metrics, Throttle, panic_text};
use crate::settle::{Settle, Settled, Settlement};
use crate::switch::Switch;

/// A lease, and the switch that tells its handler that it ends.
#[derive(Debug)]
pub(crate) struct Grant {
    lease: Lease,
    pub(crate) cancelled: Switch,
}

impl Grant {
    pub(crate) fn new(lease: Lease, cancelled: Switch) -> Self {
        Self { lease, cancelled }
    }
}

impl Deref for Grant {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}

/// Those of one group, most often one.
pub(crate) type Grants = SmallVec<[Arc<Grant>; 1]>;

/// The heartbeat of one runner. Ends its thread when dropped.
pub(crate) struct Heartbeat {
    shared: Arc<Shared>,
}

struct Shared {
    lease: Duration,
    window: Duration,
    metrics: Arc<Metrics>,
    held: Mutex<Held>,
    /// Wakes the thread while it holds nothing. Not while it waits for something else: at a trickle each message is the
    /// first to be held.
    wake: Notify,
    /// Wakes it to end.
    end: Notify,
}

#[derive(Default)]
struct Held {
    groups: Slab<Group>,
    ended: bool,
}

struct Group {
    grants: Grants,
    /// When the request that last renewed it was sent.
    renewed: Instant,
    /// Nobody may believe in the leases any more; cancelled as well, then.
    lost: bool,
}

impl Group {
    /// True if these are its leases, not others like them.
    fn is(&self, grants: &Grants) -> bool {
        let firsts = self.grants.first().zip(grants.first());
        firsts.is_some_and(|(mine, other)| Arc::ptr_eq(mine, other))
    }

    fn cancel(&self) {
        self.grants.iter().for_each(|grant| grant.cancelled.turn_on());
    }

    fn lose(&mut self) {
        self.lost = true;
        self.cancel();
    }
}

/// Holds a group of leases until dropped.
pub(crate) struct Hold {
    place: usize,
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
        Self::on(store, lease, window, metrics, |beating| {
            let thread = std::thread::Builder::new().name("ackonce-heartbeat".into());
            let run = move || {
                runtime.block_on(beating);
                // Nobody waits for blocking work that a store may have left.
                runtime.shutdown_background();
            };
            thread.spawn(run).map(drop)
        })
    }

    /// Runs it where `spawn` says; a test gives it the runtime whose clock the test holds.
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
        spawn(Box::pin(beat_for_good(shared.clone(), store)))?;
        Ok(Self { shared })
    }

    /// Holds leases that were claimed by a request sent at `claimed`. Two thirds of the lease unrenewed, or lost, and
    /// they are cancelled.
    pub(crate) fn hold(&self, grants: Grants, claimed: Instant) -> Hold {
        let mut held = self.shared.lock();
        if held.groups.is_empty() {
            self.shared.wake.notify_one();
        }
        let place = held.groups.insert(Group { grants, renewed: claimed, lost: false });
        Hold { place, shared: self.shared.clone() }
    }
}

impl Hold {
    /// Tells the handlers under these leases to end.
    pub(crate) fn cancel(&self) {
        if let Some(group) = self.shared.lock().groups.get(self.place) {
            group.cancel();
        }
    }

    /// Holds one lease of these by itself, as long as it was last renewed with the others.
    pub(crate) fn part(&self, grant: Arc<Grant>) -> Self {
        let mut held = self.shared.lock();
        let (renewed, lost) =
            held.groups.get(self.place).map_or((Instant::now(), true), |group| (group.renewed, group.lost));
        let place = held.groups.insert(Group { grants: [grant].into_iter().collect(), renewed, lost });
        Self { place, shared: self.shared.clone() }
    }

    /// Ready once the leases are lost.
    pub(crate) async fn lost(&self) {
        // Those of a group are cancelled together.
        let first = self.shared.lock().groups.get(self.place).and_then(|group| group.grants.first().cloned());
        if let Some(grant) = first {
            grant.cancelled.on().await;
        }
        while self.shared.lock().groups.get(self.place).is_some_and(|group| !group.lost) {
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
        self.shared.lock().groups.try_remove(self.place);
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

    /// The interval between looks at the clock: seldom enough to cost nothing, and often enough for the tenth of the lease
    /// that is left after [`lose`](Group::lose).
    fn tick(&self) -> Duration {
        self.lease / 24
    }

    /// Warns of leases that were not renewed in time and gives them up; returns those that are due for renewal.
    fn due(&self, now: Instant) -> Vec<(usize, Grants)> {
        let mut held = self.lock();
        let mut due = Vec::new();
        for (place, group) in &mut held.groups {
            let age = now.saturating_duration_since(group.renewed);
            if age >= self.lease * 9 / 10 {
                group.lose();
            } else if age >= self.lease * 2 / 3 {
                group.cancel();
            }
            if age >= self.lease / 3 && !group.lost {
                due.push((place, group.grants.clone()));
            }
        }
        due
    }

    fn renewed(&self, place: usize, grants: &Grants, sent: Instant, answers: &[Result<Settled>]) {
        let mut held = self.lock();
        // A group that ended meanwhile has settled its leases: nothing to say. Its place may be another's by now.
        let Some(group) = held.groups.get_mut(place).filter(|group| group.is(grants)) else { return };
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

/// A store that panics costs one renewal.
async fn beat_for_good(shared: Arc<Shared>, store: Arc<dyn Deduplicator>) {
    while let Err(panic) = AssertUnwindSafe(beat(&shared, store.as_ref())).catch_unwind().await {
        let text = panic_text(panic.as_ref());
        tracing::error!(target: "ackonce", scope = shared.metrics.scope,
            "heartbeat: the store panicked while it renewed leases; trying again: {text}");
        if watched(&shared, tokio::time::sleep(shared.tick())).await.is_none() {
            return;
        }
    }
}

async fn beat(shared: &Shared, store: &dyn Deduplicator) {
    let (failures, scope) = (Throttle::default(), &shared.metrics.scope);
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
        let answered = match due.is_empty() {
            true => None,
            false => {
                let trip = tokio::time::timeout(shared.lease / 3, extend(shared, store, &due));
                match watched(shared, trip).await {
                    None => return,
                    answered => {
                        shared.metrics.extend_time.record(sent.elapsed());
                        answered
                    }
                }
            }
        };
        match answered {
            None => {}
            Some(Ok(Ok(answers))) => {
                if failures.recovered() {
                    tracing::warn!(target: "ackonce", scope, "heartbeat: the store renews leases again");
                }
                let mut rest = answers.as_slice();
                for (place, grants) in &due {
                    let (mine, others) = rest.split_at(grants.len().min(rest.len()));
                    shared.renewed(*place, grants, sent, mine);
                    rest = others;
                }
                if let Some(Err(error)) = answers.iter().find(|answer| answer.is_err()) {
                    failures.warn(|more| {
                        tracing::warn!(target: "ackonce", scope, error = %chain(error), more, "heartbeat: the store could not renew a lease");
                    });
                }
            }
            Some(Ok(Err(error))) => {
                failures.warn(|more| {
                    tracing::warn!(target: "ackonce", scope, error = %chain(&error), more, "heartbeat: the store could not renew leases");
                });
            }
            Some(Err(_)) => {
                failures.warn(|more| {
                    tracing::warn!(target: "ackonce", scope, more, "heartbeat: the store did not answer in a third of the lease");
                });
            }
        }
        if watched(shared, tokio::time::sleep(shared.lease / 12)).await.is_none() {
            return;
        }
    }
}

/// Waits for `other` and looks at the clock meanwhile; `None` if the runner has ended first.
async fn watched<T>(shared: &Shared, other: impl Future<Output = T>) -> Option<T> {
    let mut other = pin!(other);
    loop {
        tokio::select! {
            biased;
            () = shared.end.notified() => return None,
            done = &mut other => return Some(done),
            () = tokio::time::sleep(shared.tick()) => {
                shared.due(Instant::now());
            }
        }
    }
}

/// A lease that cannot be renewed now, for its record is locked, does not cost the others theirs.
async fn extend(
    shared: &Shared,
    store: &dyn Deduplicator,
    due: &[(usize, Grants)],
) -> Result<Vec<Result<Settled>>> {
    let action = Settle::Extend { lease: shared.lease, window: shared.window };
    let settlements: Vec<_> =
        due.iter().flat_map(|(_, grants)| grants).map(|g| Settlement::new(g, action.clone())).collect();
    match store.settle(&settlements).await {
        Ok(answers) => Ok(answers.into_iter().map(Ok).collect()),
        Err(error) => apart(settlements.len(), error, |part| store.settle(&settlements[part])).await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use async_trait::async_trait;

    use super::*;
    use crate::claim::{ClaimRequest, Claimed, Previous, Token};
    use crate::deduplicator::Description;
    use crate::error::{Error, ErrorKind};
    use crate::key::Scope;

    const LEASE: Duration = Duration::from_secs(30);

    fn metrics() -> Arc<Metrics> {
        Arc::new(Metrics::new("s", crate::Class::Leased))
    }

    fn grants() -> Grants {
        grants_of("id")
    }

    fn grants_of(id: &'static str) -> Grants {
        let key = Scope::new("s").unwrap().key(id).unwrap();
        let lease = Lease { key, token: Token::random(), fence: 1, attempt: 1, previous: Previous::None };
        [Arc::new(Grant::new(lease, Switch::default()))].into_iter().collect()
    }

    /// A store's treatment of a renewal.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Trip {
        Hangs,
        Panics,
        Fails,
        Renews,
        /// The record of `id` is locked; the others are renewed.
        Locks,
    }

    /// Renewals by plan; the last entry goes on.
    #[derive(Debug)]
    struct Planned(Mutex<(Vec<Trip>, usize)>);

    #[async_trait]
    impl Deduplicator for Planned {
        async fn claim(&self, _: &[ClaimRequest]) -> Result<Vec<Claimed>> {
            Ok(Vec::new())
        }
        async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
            let trip = {
                let mut plan = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                plan.1 += 1;
                if plan.0.len() > 1 { plan.0.remove(0) } else { plan.0[0] }
            };
            match trip {
                Trip::Hangs => std::future::pending().await,
                Trip::Panics => panic!("the store panics"),
                Trip::Fails => Err(Error::new(ErrorKind::Unavailable, "down")),
                Trip::Locks if settlements.iter().any(|s| s.key.id()[..] == *b"id") => {
                    Err(Error::new(ErrorKind::Locked, "held"))
                }
                Trip::Renews | Trip::Locks => Ok(vec![Settled::Yes; settlements.len()]),
            }
        }
        fn describe(&self) -> Description {
            Description { name: "planned".into(), weaknesses: Vec::new() }
        }
    }

    /// On the test's own clock.
    fn planned(trips: &[Trip]) -> (Arc<Planned>, Heartbeat, tokio::task::JoinHandle<()>) {
        let (store, mut task) = (Arc::new(Planned(Mutex::new((trips.to_vec(), 0)))), None);
        let heartbeat = Heartbeat::on(store.clone(), LEASE, LEASE, metrics(), |beating| {
            task = Some(tokio::spawn(beating));
            Ok(())
        });
        (store, heartbeat.unwrap(), task.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_lets_no_handler_outlive_its_lease() {
        for trips in
            [vec![Trip::Hangs], vec![Trip::Fails, Trip::Hangs], vec![Trip::Panics], vec![Trip::Fails]]
        {
            let (_store, heartbeat, _task) = planned(&trips);
            let (grants, claimed) = (grants(), Instant::now());
            let hold = heartbeat.hold(grants.clone(), claimed);
            grants[0].cancelled.on().await;
            let told = claimed.elapsed();
            assert!((LEASE * 2 / 3..=LEASE * 3 / 4).contains(&told), "{trips:?}: told after {told:?}");
            hold.lost().await;
            let lost = claimed.elapsed();
            assert!((LEASE * 9 / 10..LEASE).contains(&lost), "{trips:?}: lost after {lost:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_locked_record_costs_the_others_no_lease() {
        let (_store, heartbeat, _task) = planned(&[Trip::Locks]);
        let groups = ["a", "id", "b", "c"].map(grants_of);
        let holds = groups.clone().map(|grants| heartbeat.hold(grants, Instant::now()));
        tokio::time::sleep(LEASE * 5).await;
        let cancelled = groups.map(|grants| grants[0].cancelled.is_on());
        assert_eq!(cancelled, [false, true, false, false]);
        drop(holds);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_panics_once_loses_no_lease() {
        for trip in [Trip::Panics, Trip::Fails] {
            let (_store, heartbeat, _task) = planned(&[trip, Trip::Renews]);
            let grants = grants();
            let _hold = heartbeat.hold(grants.clone(), Instant::now());
            tokio::time::sleep(LEASE * 5).await;
            assert!(!grants[0].cancelled.is_on(), "{trip:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_its_runner_whatever_it_waits_for() {
        for (trips, held_for) in [
            (Trip::Renews, None),
            (Trip::Renews, Some(LEASE)),
            (Trip::Hangs, Some(LEASE / 2)),
            (Trip::Renews, Some(Duration::ZERO)),
        ] {
            let (store, heartbeat, task) = planned(&[trips]);
            let hold = held_for.map(|_| heartbeat.hold(grants(), Instant::now()));
            tokio::time::sleep(held_for.unwrap_or_default()).await;
            let dropped = Instant::now();
            drop(heartbeat);
            task.await.unwrap();
            assert_eq!(dropped.elapsed(), Duration::ZERO, "{trips:?} {held_for:?}");
            assert_eq!(Arc::strong_count(&store), 1, "the store is let go");
            drop(hold);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_leaves_its_group_is_as_old_as_that() {
        let (store, heartbeat, _task) = planned(&[Trip::Renews]);
        let (grants, claimed) = (grants(), Instant::now());
        let hold = heartbeat.hold(grants.clone(), claimed);
        tokio::time::sleep(LEASE * 10).await;
        let part = hold.part(grants[0].clone());
        drop(hold);
        tokio::time::sleep(LEASE * 10).await;
        assert!(!grants[0].cancelled.is_on(), "it was renewed with its group, and is renewed without it");
        store.0.lock().unwrap().0 = vec![Trip::Hangs];
        part.lost().await;
        let second = heartbeat.hold(grants.clone(), claimed);
        tokio::time::sleep(LEASE / 8).await;
        // A lost lease stays lost.
        second.part(grants[0].clone()).lost().await;
    }

    #[test]
    fn a_thread_that_cannot_be_made_is_an_error() {
        let store = Arc::new(Planned(Mutex::new((vec![Trip::Renews], 0))));
        let refused = |_| Err(io::Error::from(io::ErrorKind::WouldBlock));
        assert!(Heartbeat::on(store, LEASE, LEASE, metrics(), refused).is_err());
    }

    #[test]
    fn an_answer_that_comes_late_is_not_taken_for_another_groups() {
        let shared = Arc::new(Shared {
            lease: LEASE,
            window: LEASE,
            metrics: metrics(),
            held: Mutex::default(),
            wake: Notify::new(),
            end: Notify::new(),
        });
        let heartbeat = Heartbeat { shared: shared.clone() };
        let began = Instant::now();
        drop(heartbeat.hold(grants(), began));
        let (first, second) = (grants(), grants());
        let hold = heartbeat.hold(first.clone(), began);
        let due = shared.due(began + LEASE / 2);
        let [(place, asked)] = &due[..] else { panic!("one group is due") };
        drop(hold);
        let _hold = heartbeat.hold(second.clone(), began);
        shared.renewed(*place, asked, began, &[Ok(Settled::Lost)]);
        assert!(!second[0].cancelled.is_on(), "it has the place, and was not asked for");
        shared.renewed(*place, &second, began, &[Ok(Settled::Lost)]);
        assert!(second[0].cancelled.is_on());
    }
}
