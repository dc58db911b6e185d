//! Attempts are counted by the store when it grants a claim.

use ackonce::Previous;
use ackonce::store::Lease;

use super::Fixture;
use super::bench::{Bench, refund, release};

/// The first claim of a key is granted as attempt 1, with none before it.
pub async fn a_first_claim_is_attempt_one(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    counted(&lease, 1, Previous::None);
    assert!(lease.fence > 0, "a fence of zero");
}

/// Every attempt that was released counts, whichever client asks.
pub async fn a_released_attempt_counts(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let mut lease = bench.a.acquire(&bench.request("id")).await;
    for attempt in 2..=6 {
        bench.a.confirm(&lease, release()).await;
        lease = bench.b.acquire(&bench.request("id")).await;
        counted(&lease, attempt, Previous::Released);
    }
}

/// A refunded release gives the attempt back, once, also when its reply was lost and it is repeated.
pub async fn a_refunded_attempt_is_given_back(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let first = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&first, release()).await;
    for _ in 0..3 {
        let lease = bench.a.acquire(&bench.request("id")).await;
        assert_eq!(lease.attempt, 2, "after a refund the attempt is counted as if it had not been");
        bench.a.confirm(&lease, refund()).await;
        bench.b.confirm(&lease, refund()).await;
    }
}

/// An attempt whose worker never settles counts: a message that kills its worker is counted too.
pub async fn a_vanished_attempt_counts(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    counted(&bench.a.acquire(&bench.short("id")).await, 1, Previous::None);
    for attempt in 2..=4 {
        let lease = bench.b.acquire_at_last(|| bench.short("id")).await;
        counted(&lease, attempt, Previous::Vanished);
    }
}

/// `previous` tells a release from a silence.
pub async fn the_attempt_before_is_named_by_how_it_ended(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let (_, lease) = bench.taken_over("id").await;
    counted(&lease, 2, Previous::Vanished);
    bench.a.confirm(&lease, release()).await;
    let short = bench.short("id");
    counted(&bench.a.acquire(&short).await, 3, Previous::Released);
    let lease = bench.b.acquire_at_last(|| bench.request("id")).await;
    counted(&lease, 4, Previous::Vanished);
}

/// An attempt that was handed back does not hide the one before it: `previous` still tells that it vanished.
pub async fn a_refund_does_not_hide_a_vanished_attempt(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let (_, mut lease) = bench.taken_over("id").await;
    for _ in 0..3 {
        counted(&lease, 2, Previous::Vanished);
        bench.a.confirm(&lease, refund()).await;
        lease = bench.b.acquire(&bench.request("id")).await;
    }
    bench.a.confirm(&lease, release()).await;
    counted(&bench.b.acquire(&bench.request("id")).await, 3, Previous::Released);
}

fn counted(lease: &Lease, attempt: u32, previous: Previous) {
    assert_eq!((lease.attempt, lease.previous), (attempt, previous), "attempt and how the one before ended");
}
