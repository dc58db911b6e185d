//! Complete, release, extend and bury: each does its one thing, once.

use std::time::Duration;

use ackonce::{Claimed, Previous, Settle, State};

use super::Fixture;
use super::bench::{Bench, LONG, SHORT, bury, complete, extend, refund, release};

/// A completed key answers Done to everybody.
pub async fn a_completed_key_is_done(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&lease, complete()).await;
    for client in [&bench.a, &bench.b] {
        let record = client.done(&bench.request("id")).await;
        assert_eq!((record.state, record.reason), (State::Done, None), "state and reason of a completed key");
    }
}

/// A buried key is settled too, and its record says that it was buried, and why.
pub async fn a_buried_key_is_done(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&lease, bury()).await;
    let record = bench.b.done(&bench.request("id")).await;
    assert_eq!((record.state, record.outcome), (State::Buried, None), "state and outcome of a buried key");
    assert_eq!(record.reason.as_deref(), Some("it will never succeed"), "the reason it was buried for");
}

/// Nobody waits for the lease of a key that was handed back.
pub async fn a_released_key_is_granted_at_once(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for action in [release(), refund()] {
        let lease = bench.a.acquire(&bench.request("id")).await;
        bench.a.confirm(&lease, action).await;
        let next = bench.b.acquire(&bench.request("id")).await;
        assert_ne!(next.previous, Previous::Vanished, "a release is not a silence");
        bench.b.confirm(&next, refund()).await;
    }
}

/// The heartbeat: an extension holds the key beyond the lease it was claimed with.
pub async fn an_extended_lease_holds_past_its_first_end(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.short("id")).await;
    bench.a.confirm(&lease, extend()).await;
    bench.pass(SHORT).await;
    let free_in = bench.b.busy(&bench.request("id")).await;
    assert!(free_in > Duration::ZERO && free_in <= LONG, "busy for {free_in:?} of a lease of {LONG:?}");
    bench.a.confirm(&lease, Settle::Extend { lease: SHORT, window: LONG }).await;
    assert_eq!(bench.b.acquire_at_last(|| bench.request("id")).await.attempt, 2, "the trail of an extension");
}

/// The lease has ended, nobody claimed since: the effect happened and is recorded.
pub async fn a_late_completion_is_recorded(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.short("id")).await;
    bench.pass(SHORT).await;
    bench.a.confirm(&lease, complete()).await;
    assert_eq!(
        bench.b.done(&bench.request("id")).await.fence,
        lease.fence,
        "the fence of the late completion"
    );
}

/// The lease has ended, nobody claimed since: a late heartbeat holds the key again.
pub async fn a_late_extension_holds_again(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.short("id")).await;
    bench.pass(SHORT).await;
    bench.a.confirm(&lease, extend()).await;
    bench.b.busy(&bench.request("id")).await;
    bench.a.confirm(&lease, complete()).await;
}

/// A lost reply: the same settlement is confirmed again, from any client.
pub async fn a_repeated_settlement_is_confirmed_again(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for (n, action) in [complete(), release(), refund(), extend(), bury()].into_iter().enumerate() {
        let id = format!("id {n}");
        let lease = bench.a.acquire(&bench.request(&id)).await;
        for client in [&bench.a, &bench.a, &bench.b] {
            client.confirm(&lease, action.clone()).await;
        }
        if let (Settle::Extend { .. }, free_in) = (action, bench.b.claim(&bench.request(&id)).await) {
            let held = matches!(free_in, Claimed::Busy { free_in } if free_in <= LONG);
            assert!(held, "extended by {LONG:?} three times over: {free_in:?}");
        }
    }
}

/// What was completed is neither released, extended nor buried afterwards.
pub async fn a_completed_lease_stays_completed(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    let outcome = Some("result".into());
    bench.a.confirm(&lease, Settle::Complete { window: LONG, outcome: outcome.clone() }).await;
    for action in [release(), refund(), extend(), bury()] {
        bench.b.lose(&lease, action).await;
        let record = bench.b.done(&bench.request("id")).await;
        assert_eq!(
            (record.state, record.outcome, record.reason),
            (State::Done, outcome.clone(), None),
            "state, outcome and reason stay those of the completion"
        );
    }
}

/// What was buried is neither completed, released nor extended afterwards.
pub async fn a_buried_lease_stays_buried(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&lease, bury()).await;
    for action in [complete(), release(), refund(), extend()] {
        bench.b.lose(&lease, action).await;
        assert_eq!(
            bench.b.done(&bench.request("id")).await.state,
            State::Buried,
            "a buried key stays buried"
        );
    }
}

/// What was handed back is neither completed, extended nor buried afterwards: the next claim may be on its way.
pub async fn a_released_lease_stays_released(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&lease, release()).await;
    for action in [complete(), extend(), bury()] {
        bench.b.lose(&lease, action).await;
    }
    assert_eq!(
        bench.b.acquire(&bench.request("id")).await.attempt,
        2,
        "the attempt after one that was released once"
    );
}
