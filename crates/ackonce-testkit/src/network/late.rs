//! Requests that the server applies after their client has given up.

use ackonce::store::Settle;

use super::Fixture;
use super::bench::{Bench, unknown};
use crate::conformance::bench::LONG;

/// Given up, repeated over another connection, and then applied as well: one attempt, one fence.
pub async fn a_claim_applied_late_is_one_attempt(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let request = bench.request("id");
    bench.hold();
    unknown(bench.try_claim(&request).await);
    let lease = bench.near.acquire(&request).await;
    bench.let_go().await;
    assert_eq!(bench.near.acquire(&request).await, lease, "a claim that was applied late, repeated");
    assert_eq!(lease.attempt, 1, "the attempt of a claim that was applied late");
    bench.near.busy(&bench.request("id")).await;
}

/// Given up, never repeated, and then applied: it holds the key for its lease, and no longer.
pub async fn a_claim_applied_late_costs_a_rival_one_lease(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    bench.hold();
    unknown(bench.try_claim(&bench.short("id")).await);
    bench.let_go().await;
    let rivals = bench.near.acquire_at_last(|| bench.request("id")).await;
    assert!(rivals.attempt <= 2, "attempt {} after one that never ran", rivals.attempt);
    bench.near.confirm(&rivals, complete_with("rival")).await;
}

/// Given up and applied while a rival runs, and again once the rival is done: the rival loses nothing.
pub async fn a_claim_applied_late_takes_nothing_from_a_rival(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for (id, is_done) in [("running", false), ("done", true)] {
        bench.hold();
        unknown(bench.try_claim(&bench.request(id)).await);
        let rivals = bench.near.acquire(&bench.request(id)).await;
        if is_done {
            bench.near.confirm(&rivals, complete_with("rival")).await;
        }
        bench.let_go().await;
        bench.near.confirm(&rivals, complete_with("rival")).await;
        assert_eq!(
            bench.near.done(&bench.request(id)).await.fence,
            rivals.fence,
            "the rival's fence stays, also after late requests"
        );
        bench.warm_up().await;
    }
}

/// A completion that arrives after its lease was taken over changes nothing.
pub async fn a_completion_applied_late_is_fenced_off(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.acquire(&bench.short("id")).await;
    bench.hold();
    unknown(bench.try_settle(&lease, complete_with("late")).await);
    let rivals = bench.near.acquire_at_last(|| bench.request("id")).await;
    bench.let_go().await;
    bench.near.busy(&bench.request("id")).await;
    bench.near.confirm(&rivals, complete_with("rival")).await;
    let record = bench.near.done(&bench.request("id")).await;
    assert_eq!(
        (record.fence, record.outcome.as_deref()),
        (rivals.fence, Some(b"rival".as_slice())),
        "fence and outcome are the rival's"
    );
}

fn complete_with(outcome: &'static str) -> Settle {
    Settle::Complete { window: LONG, outcome: Some(outcome.into()) }
}
