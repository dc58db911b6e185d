//! Fences only grow, and a settlement without the last one changes nothing.

use std::time::Duration;

use ackonce::Previous;
use ackonce::store::{Attempt, ClaimRequest, Lease, Settle, Token};

use super::Fixture;
use super::bench::{Bench, LONG, SHORT, bury, complete, extend, key, refund, release, request};

/// Each claim after a release carries a larger fence.
pub async fn fences_grow_over_releases(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let mut last = 0;
    for action in [release(), refund(), release(), refund(), release()] {
        let lease = bench.a.acquire(&bench.request("id")).await;
        grown(&mut last, &lease);
        bench.b.confirm(&lease, action).await;
    }
}

/// Each claim after a silence carries a larger fence.
pub async fn fences_grow_over_lapsed_leases(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let mut last = 0;
    for _ in 0..4 {
        grown(&mut last, &bench.a.acquire_at_last(|| bench.short("id")).await);
    }
}

/// Each claim of a key that was forgotten carries a larger fence: a worker from before the window is fenced too.
pub async fn fences_grow_over_the_window(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let mut last = 0;
    for n in 0..3 {
        let lease = bench.a.acquire_at_last(|| bench.request("id")).await;
        assert_eq!(lease.attempt, 1, "the key was forgotten");
        grown(&mut last, &lease);
        let action = match n {
            0 => Settle::Complete { window: SHORT, outcome: None },
            _ => Settle::Bury { window: SHORT, reason: "no use".to_owned() },
        };
        bench.b.confirm(&lease, action).await;
    }
}

/// Claims in quick succession, whose records are forgotten at once: the clock may not have advanced in between.
pub async fn fences_grow_faster_than_the_clock(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let none = Duration::ZERO;
    let mut last = 0;
    for n in 0..200 {
        let lease = bench.a.acquire_at_last(|| bench.request("id")).await;
        grown(&mut last, &lease);
        let action = match n % 3 {
            0 => Settle::Complete { window: none, outcome: None },
            1 => Settle::Release { attempt: Attempt::Refunded, window: none, not_before: Duration::ZERO },
            _ => release(),
        };
        bench.a.confirm(&lease, action).await;
    }
}

fn grown(last: &mut u64, lease: &Lease) {
    assert!(lease.fence > *last, "fence {} after fence {last}", lease.fence);
    *last = lease.fence;
}

/// A completion by a worker whose key was taken over is Lost, and the other worker keeps the key.
pub async fn an_old_fence_completes_nothing(fixture: &dyn Fixture) {
    changes_nothing(fixture, &[Settle::Complete { window: LONG, outcome: Some("stale".into()) }]).await;
}

/// A release by a worker whose key was taken over does not free the key of the other worker.
pub async fn an_old_fence_releases_nothing(fixture: &dyn Fixture) {
    changes_nothing(fixture, &[release(), refund()]).await;
}

/// A heartbeat of a worker whose key was taken over neither takes the key back nor cuts the other worker's lease.
pub async fn an_old_fence_extends_nothing(fixture: &dyn Fixture) {
    let shorter = Settle::Extend { lease: Duration::ZERO, window: Duration::ZERO };
    changes_nothing(fixture, &[Settle::Extend { lease: LONG * 4, window: LONG }, shorter]).await;
}

/// A burial by a worker whose key was taken over is Lost.
pub async fn an_old_fence_buries_nothing(fixture: &dyn Fixture) {
    changes_nothing(fixture, &[bury()]).await;
}

async fn changes_nothing(fixture: &dyn Fixture, actions: &[Settle]) {
    let bench = Bench::new(fixture).await;
    let (old, new) = bench.taken_over("id").await;
    for action in actions {
        bench.a.lose(&old, action.clone()).await;
        is_still_held(&bench, &new).await;
    }
    bench.b.confirm(&new, complete()).await;
    for action in actions {
        bench.a.lose(&old, action.clone()).await;
    }
    let record = bench.a.done(&bench.request("id")).await;
    assert_eq!(
        (record.fence, record.attempt, record.outcome),
        (new.fence, 2, None),
        "fence, attempt and outcome are those of the new holder"
    );
}

async fn is_still_held(bench: &Bench, lease: &Lease) {
    let free_in = bench.a.busy(&request(lease.key.clone())).await;
    assert!(free_in > Duration::ZERO && free_in <= LONG, "busy for {free_in:?} of a lease of {LONG:?}");
    // Its holder's own claim, repeated, is answered as before.
    let again = ClaimRequest { token: lease.token, ..request(lease.key.clone()) };
    assert_eq!(&bench.b.acquire(&again).await, lease, "the holder's own claim, repeated");
}

/// The right token with another fence settles nothing.
pub async fn a_settlement_needs_the_fence(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    for fence in [lease.fence - 1, lease.fence + 1, 0, u64::MAX] {
        for action in [complete(), release(), bury(), Settle::Extend { lease: LONG * 4, window: LONG }] {
            bench.a.lose(&Lease { fence, ..lease.clone() }, action).await;
        }
    }
    is_still_held(&bench, &lease).await;
    bench.a.confirm(&lease, complete()).await;
}

/// The right fence with another token settles nothing.
pub async fn a_settlement_needs_the_token(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    for token in [Token::random(), Token([0; 16]), Token([0xff; 16])] {
        for action in [complete(), release(), bury(), Settle::Extend { lease: LONG * 4, window: LONG }] {
            bench.a.lose(&Lease { token, ..lease.clone() }, action).await;
        }
    }
    is_still_held(&bench, &lease).await;
    bench.a.confirm(&lease, complete()).await;
}

/// A settlement of an unclaimed key is Lost and leaves no record behind.
pub async fn a_settlement_of_an_unknown_key_is_lost(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for action in [complete(), release(), refund(), extend(), bury()] {
        let (key, token) = (key(&bench.scope, "id"), Token::random());
        let forged = Lease { key, token, fence: 1, attempt: 1, previous: Previous::None, progress: None };
        bench.a.lose(&forged, action).await;
    }
    let lease = bench.a.acquire(&bench.request("id")).await;
    assert_eq!((lease.attempt, lease.previous), (1, Previous::None), "nothing was recorded");
}

/// Once lease and window have passed, the claim is forgotten and cannot be settled any more.
pub async fn a_settlement_of_a_forgotten_claim_is_lost(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&ClaimRequest { window: SHORT, ..bench.short("id") }).await;
    bench.pass(SHORT * 3).await;
    for action in [extend(), release(), bury(), complete()] {
        bench.a.lose(&lease, action).await;
    }
    assert_eq!(
        bench.a.acquire(&bench.request("id")).await.attempt,
        1,
        "the attempt after the claim was forgotten"
    );
}
