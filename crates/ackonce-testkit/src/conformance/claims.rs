//! Of all claims of a key, one is acquired; a claim repeated is the same claim.

use std::time::Duration;

use ackonce::store::{Claimed, Settle};

use super::Fixture;
use super::bench::{Bench, Client, LONG, acquired, complete, refund, release};

/// While one client holds the lease, another is told to wait, for no longer than the lease.
pub async fn a_second_claim_is_busy(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    bench.a.acquire(&bench.request("id")).await;
    let free_in = bench.a.busy(&bench.request("id")).await;
    assert!(free_in > Duration::ZERO && free_in <= LONG, "busy for {free_in:?} of a lease of {LONG:?}");
}

/// Every client finds the key busy, and every client can hold it.
pub async fn a_claimed_key_is_busy_for_every_client(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let clients = [bench.a.clone(), bench.b.clone(), Client::open(fixture).await];
    for (holder, client) in clients.iter().enumerate() {
        let id = format!("held by {holder}");
        client.acquire(&bench.request(&id)).await;
        for other in &clients {
            let free_in = other.busy(&bench.request(&id)).await;
            assert!(free_in > Duration::ZERO && free_in <= LONG, "busy for {free_in:?} of {LONG:?}");
        }
    }
}

/// A lost reply: the same claim is answered as the first time, from any client, and holds.
pub async fn a_repeated_claim_is_answered_as_before(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let before = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&before, release()).await;
    let request = bench.request("id");
    let lease = bench.a.acquire(&request).await;
    for client in [&bench.a, &bench.b, &bench.a] {
        assert_eq!(client.acquire(&request).await, lease, "a repeat of the same claim");
    }
    bench.b.busy(&bench.request("id")).await;
    bench.b.confirm(&lease, complete()).await;
}

/// A repeat after the lease's end renews the same lease if no other claim came in between.
pub async fn a_repeated_claim_after_its_lease_takes_it_up_again(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let mut request = bench.short("id");
    let lease = bench.a.acquire(&request).await;
    bench.pass(request.lease).await;
    request.lease = LONG;
    assert_eq!(bench.b.acquire(&request).await, lease, "a repeat of the same claim");
    bench.a.busy(&bench.request("id")).await;
}

/// A delayed copy of a released claim is not granted: its caller has gone on, so the lease would have no holder.
pub async fn a_repeated_claim_after_its_release_is_not_granted(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for (id, action) in [("released", release()), ("refunded", refund())] {
        let request = bench.request(id);
        let lease = bench.a.acquire(&request).await;
        bench.a.confirm(&lease, action).await;
        let answer = bench.b.claim(&request).await;
        assert!(matches!(answer, Claimed::Busy { .. }), "leased to a ghost: {answer:?}");
        bench.b.acquire(&bench.request(id)).await;
    }
}

/// A repeat of a claim that was completed in between finds the record, like any other claim.
pub async fn a_repeated_claim_after_its_completion_is_done(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let request = bench.request("id");
    let lease = bench.a.acquire(&request).await;
    let outcome = Some("result".into());
    bench.a.confirm(&lease, Settle::Complete { window: LONG, outcome: outcome.clone() }).await;
    assert_eq!(bench.b.done(&request).await.outcome, outcome, "the outcome that its own completion left");
}

/// A repeat of a claim whose key went to another is not granted, and costs the other nothing.
pub async fn a_repeated_claim_after_a_takeover_is_busy(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let request = bench.short("id");
    bench.a.acquire(&request).await;
    let rival = bench.request("id");
    let new = bench.b.acquire_at_last(|| rival.clone()).await;
    let free_in = bench.a.busy(&request).await;
    assert!(free_in > Duration::ZERO && free_in <= LONG, "busy for {free_in:?} of a lease of {LONG:?}");
    assert_eq!(
        acquired(bench.b.claim(&rival).await, &rival),
        new,
        "the claim that took the key over, repeated"
    );
    bench.b.confirm(&new, complete()).await;
}
