//! Forgetting: the record is removed, the fence is kept, and no holder loses its claim.

use ackonce::Previous;
use ackonce::store::{AdminOutcome, ClaimRequest, Fingerprint, State};

use super::Fixture;
use super::bench::{Bench, bury, complete, complete_with, end_of, extend, release, waiting};
use super::looking::same;

/// The next claim is a first attempt with a larger fence, and meets neither outcome nor payload of before.
pub async fn a_forgotten_message_runs_as_if_it_were_the_first(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for state in [State::Released, State::Done, State::Buried] {
        let id = state.as_str();
        let keys = bench.some(1, id, state).await;
        let fence = bench.b.record(&keys[0]).await.fence;
        assert_eq!(bench.b.forget(&keys[0]).await, AdminOutcome::Yes, "{id}");
        assert_eq!(bench.a.get(&keys[0]).await, None, "{id}");
        let other = Some(Fingerprint::of(b"another payload"));
        let request = ClaimRequest { fingerprint: other, ..super::bench::request(keys[0].clone()) };
        let lease = bench.a.acquire(&request).await;
        assert_eq!((lease.attempt, lease.previous), (1, Previous::None), "{id}");
        assert!(lease.fence > fence, "fence {} after fence {fence}", lease.fence);
        bench.a.confirm(&lease, complete_with(None)).await;
        let record = bench.b.record(&keys[0]).await;
        assert_eq!((record.state, record.outcome, record.reason), (State::Done, None, None), "was {id}");
    }
}

/// A back-off has no holder: its message may be forgotten, and then runs at once.
pub async fn a_waiting_message_is_forgotten(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let old = bench.settled("id", waiting()).await;
    bench.b.is_busy(&bench.request("id")).await;
    assert_eq!(bench.b.forget(&old.key).await, AdminOutcome::Yes, "a record without a holder");
    let lease = bench.a.acquire(&bench.request("id")).await;
    assert_eq!(
        (lease.attempt, lease.previous),
        (1, Previous::None),
        "the first attempt of a forgotten message"
    );
}

/// An operator cannot make a running message run a second time.
pub async fn a_live_claim_is_not_forgotten(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.claimed("id").await;
    let before = same(bench.b.record(&lease.key).await);
    assert_eq!(
        bench.b.forget(&lease.key).await,
        AdminOutcome::InFlight,
        "a claim with a live lease is not forgotten"
    );
    assert_eq!(
        same(bench.b.record(&lease.key).await),
        before,
        "the record of a claim that was not forgotten"
    );
    bench.b.is_busy(&bench.request("id")).await;
    bench.a.confirm(&lease, extend()).await;
    bench.a.confirm(&lease, complete()).await;
    assert_eq!(bench.b.forget(&lease.key).await, AdminOutcome::Yes, "it is over");
}

/// A claim whose lease has ended has no holder, so its record can be forgotten.
pub async fn a_lapsed_claim_is_forgotten(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.lapsed("id").await;
    assert_eq!(
        bench.b.forget(&lease.key).await,
        AdminOutcome::Yes,
        "a claim whose lease has ended is forgotten"
    );
    assert_eq!(bench.b.get(&lease.key).await, None, "a forgotten key has no record");
    let next = bench.b.acquire(&bench.request("id")).await;
    assert_eq!((next.attempt, next.previous), (1, Previous::None), "the next attempt is a first one");
    assert!(next.fence > lease.fence, "fence {} after fence {}", next.fence, lease.fence);
}

/// A key without a record, or with an expired one, has nothing to forget.
pub async fn of_an_absent_key_nothing_is_forgotten(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    assert_eq!(
        bench.b.forget(&bench.key("unknown")).await,
        AdminOutcome::Nothing,
        "a key that was never seen has nothing to forget"
    );
    let expired = bench.expired("expired").await;
    assert_eq!(
        bench.b.forget(&expired.key).await,
        AdminOutcome::Nothing,
        "an expired record is nothing to forget"
    );
    assert_eq!(bench.claimed("unknown").await.attempt, 1, "the attempt of a key that was never seen");
}

/// A repeated forget does nothing, from any client.
pub async fn a_record_is_forgotten_once(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let keys = bench.some(1, "id", State::Done).await;
    assert_eq!(bench.a.forget(&keys[0]).await, AdminOutcome::Yes, "a done record is forgotten");
    assert_eq!(bench.b.forget(&keys[0]).await, AdminOutcome::Nothing, "a second forget finds nothing");
    assert_eq!(bench.b.redrive(&keys[0]).await, AdminOutcome::Nothing, "a forgotten record is not redriven");
    assert_eq!(bench.b.get(&keys[0]).await, None, "a forgotten key has no record");
}

/// A former holder settles nothing any more: neither at once, nor when another client holds the key.
pub async fn a_forgotten_lease_settles_nothing(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for state in [State::Claimed, State::Released, State::Done, State::Buried] {
        let id = state.as_str();
        let old = match end_of(state) {
            Some(action) => bench.settled(id, action).await,
            None => bench.lapsed(id).await,
        };
        assert_eq!(bench.b.forget(&old.key).await, AdminOutcome::Yes, "{id}");
        for action in [complete(), release(), extend(), bury()] {
            bench.a.lose(&old, action).await;
            assert_eq!(bench.b.get(&old.key).await, None, "{id} once");
        }
        let new = bench.b.acquire(&bench.request(id)).await;
        for action in [complete(), release(), extend(), bury()] {
            bench.a.lose(&old, action).await;
        }
        bench.b.confirm(&new, complete()).await;
    }
}
