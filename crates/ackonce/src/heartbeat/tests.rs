//! Leases on stores that hang, panic, fail or lock a record. The clock is tokio's, paused.
#![allow(clippy::unwrap_used)]

use std::sync::PoisonError;

use async_trait::async_trait;

use super::*;
use crate::claim::{ClaimRequest, Claimed, Lease, Previous, Token};
use crate::deduplicator::Description;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Scope;
use crate::settle::{Settled, Settlement};
use crate::switch::Switch;

const LEASE: Duration = Duration::from_secs(30);

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new("s", crate::Class::Leased))
}

fn grants() -> Grants {
    grants_of("id")
}

fn grants_of(id: &'static str) -> Grants {
    let key = Scope::new("s").unwrap().key(id).unwrap();
    let lease =
        Lease { key, token: Token::random(), fence: 1, attempt: 1, previous: Previous::None, progress: None };
    [Arc::new(Grant::new(lease, Switch::default()))].into_iter().collect()
}

/// A store's treatment of a renewal.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trip {
    Hangs,
    Panics,
    Fails,
    Renews,
    /// Renews, and takes nearly a third of the lease to say so.
    RenewsLate,
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
            Trip::RenewsLate => {
                tokio::time::sleep(LEASE * 3 / 10).await;
                Ok(vec![Settled::Yes; settlements.len()])
            }
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
    let heartbeat = Heartbeat::on(store.clone(), LEASE, LEASE, metrics(), |renewing| {
        task = Some(tokio::spawn(renewing));
        Ok(())
    });
    (store, heartbeat.unwrap(), task.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_lets_no_handler_outlive_its_lease() {
    for trips in [vec![Trip::Hangs], vec![Trip::Fails, Trip::Hangs], vec![Trip::Panics], vec![Trip::Fails]] {
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

/// The store may have renewed the lease as soon as it was asked to.
#[tokio::test(start_paused = true)]
async fn a_lease_is_as_long_as_from_the_request_of_its_renewal() {
    let (_store, heartbeat, _task) = planned(&[Trip::RenewsLate, Trip::Hangs]);
    let claimed = Instant::now();
    let hold = heartbeat.hold(grants(), claimed);
    hold.lost().await;
    // It is asked for a renewal after a third, at a tick.
    let ends = LEASE / 3 + LEASE / 12 + LEASE;
    assert!(
        claimed.elapsed() < ends,
        "lost after {:?}, and it may have ended after {ends:?}",
        claimed.elapsed()
    );
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
    let [(index, asked)] = &due[..] else { panic!("one group is due") };
    drop(hold);
    let _hold = heartbeat.hold(second.clone(), began);
    shared.renewed(*index, asked, began, &[Ok(Settled::Lost)]);
    assert!(!second[0].cancelled.is_on(), "it has the index, and was not asked for");
    shared.renewed(*index, &second, began, &[Ok(Settled::Lost)]);
    assert!(second[0].cancelled.is_on());
}
