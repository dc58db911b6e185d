//! The same ID with another payload is not the same message, and the store does not guess which one is right.

use ackonce::store::{ClaimRequest, Claimed, Fingerprint, State};

use super::Fixture;
use super::bench::{Bench, complete, release};

fn with(bench: &Bench, id: &str, payload: Option<&str>) -> ClaimRequest {
    let fingerprint = payload.map(|p| Fingerprint::of(p.as_bytes()));
    ClaimRequest { fingerprint, ..bench.request(id) }
}

fn is_the_first(record: &ackonce::store::Record, state: State) {
    let first = Fingerprint::of(b"one");
    assert_eq!(record.state, state, "the state of the first payload's record");
    assert_eq!(
        record.fingerprint.map(|f| f.0[..8].to_vec()),
        Some(first.0[..8].to_vec()),
        "the first payload"
    );
}

/// While the first is being run, another payload is a mismatch and not merely busy.
pub async fn another_payload_is_a_mismatch_while_claimed(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    bench.a.acquire(&with(&bench, "id", Some("one"))).await;
    is_the_first(&bench.b.mismatch(&with(&bench, "id", Some("two"))).await, State::Claimed);
    bench.b.busy(&with(&bench, "id", Some("one"))).await;
}

/// Once the first is done, another payload is not its duplicate: nothing is replayed to it.
pub async fn another_payload_is_a_mismatch_once_done(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&with(&bench, "id", Some("one"))).await;
    bench.a.confirm(&lease, complete()).await;
    is_the_first(&bench.b.mismatch(&with(&bench, "id", Some("two"))).await, State::Done);
    is_the_first(&bench.b.done(&with(&bench, "id", Some("one"))).await, State::Done);
}

/// A payload that failed is not replaced by another of the same ID, nor is one whose worker vanished.
pub async fn another_payload_is_a_mismatch_once_released(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&with(&bench, "id", Some("one"))).await;
    bench.a.confirm(&lease, release()).await;
    is_the_first(&bench.b.mismatch(&with(&bench, "id", Some("two"))).await, State::Released);
    let short = ClaimRequest { lease: super::bench::SHORT, ..with(&bench, "id", Some("one")) };
    bench.b.acquire(&short).await;
    bench.pass(short.lease).await;
    is_the_first(&bench.a.mismatch(&with(&bench, "id", Some("two"))).await, State::Claimed);
    assert_eq!(
        bench.a.acquire(&with(&bench, "id", Some("one"))).await.attempt,
        3,
        "attempts of the first payload: one released, one vanished, this one"
    );
}

/// A claim or a record without a fingerprint matches any payload.
pub async fn an_unknown_payload_is_never_a_mismatch(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for (n, (first, second)) in
        [(None, Some("two")), (Some("one"), None), (None, None)].into_iter().enumerate()
    {
        let id = format!("id {n}");
        let lease = bench.a.acquire(&with(&bench, &id, first)).await;
        let answer = bench.b.claim(&with(&bench, &id, second)).await;
        assert!(matches!(answer, Claimed::Busy { .. }), "{first:?} then {second:?}: {answer:?}");
        bench.a.confirm(&lease, complete()).await;
        bench.b.done(&with(&bench, &id, second)).await;
    }
}

/// A claim without a fingerprint does not erase that of the first.
pub async fn an_unknown_payload_does_not_replace_a_known_one(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&with(&bench, "id", Some("one"))).await;
    bench.a.confirm(&lease, release()).await;
    let lease = bench.b.acquire(&with(&bench, "id", None)).await;
    is_the_first(&bench.a.mismatch(&with(&bench, "id", Some("two"))).await, State::Claimed);
    bench.b.confirm(&lease, complete()).await;
    is_the_first(&bench.a.mismatch(&with(&bench, "id", Some("two"))).await, State::Done);
}

/// A mismatch costs the holder nothing: not its lease, not its attempt, not its record.
pub async fn a_mismatch_changes_nothing(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let request = with(&bench, "id", Some("one"));
    let lease = bench.a.acquire(&request).await;
    for _ in 0..3 {
        let record = bench.b.mismatch(&with(&bench, "id", Some("two"))).await;
        assert_eq!(
            (record.fence, record.attempt),
            (lease.fence, 1),
            "fence and attempt are the holder's, also after claims of other clients"
        );
    }
    assert_eq!(bench.b.acquire(&request).await, lease, "the claim, repeated");
    bench.a.confirm(&lease, complete()).await;
    is_the_first(&bench.b.mismatch(&with(&bench, "id", Some("two"))).await, State::Done);
}
