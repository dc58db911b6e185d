//! Durable before answered: an answer that was given holds for the next process.

use ackonce::store::{Description, Lease, Settle, State};
use ackonce::{Deduplicator, Previous};

use super::Fixture;
use super::bench::{Bench, Client, LONG, bury, release};

/// True if the store's description says that its records end with its process: only then do these properties not apply.
pub(super) fn is_lost_with_process(store: &dyn Deduplicator) -> bool {
    store.describe().weaknesses.iter().any(|weakness| weakness == Description::LOST_WITH_PROCESS)
}

/// Held claims are held for the next process, by the same lease, and the attempts of others are counted there.
pub async fn a_claim_outlives_its_process(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let (held, vanished) = (bench.request("held"), bench.short("vanished"));
    let lease = bench.a.acquire(&held).await;
    let old = bench.a.acquire(&vanished).await;
    let again = Client(fixture.reopen().await);
    if is_lost_with_process(&*bench.a.0) {
        return;
    }
    again.busy(&bench.request("held")).await;
    assert_eq!(again.acquire(&held).await, lease, "the holder's own claim, repeated");
    let next = again.acquire_at_last(|| bench.request("vanished")).await;
    assert_eq!(
        (next.attempt, next.previous),
        (2, Previous::Vanished),
        "attempt, and how the one before the restart ended"
    );
    assert!(next.fence > old.fence, "fence {} after fence {} before the restart", next.fence, old.fence);
    again.confirm(&lease, release()).await;
}

/// Completed, buried and released records are so for the next process, with outcome, reason and attempts.
pub async fn a_settlement_outlives_its_process(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let complete = Settle::Complete { window: LONG, outcome: Some("result".into()) };
    let done = settled(&bench, "done", complete.clone()).await;
    settled(&bench, "buried", bury()).await;
    let released = settled(&bench, "released", release()).await;
    let again = Client(fixture.reopen().await);
    if is_lost_with_process(&*bench.a.0) {
        return;
    }
    let record = again.done(&bench.request("done")).await;
    assert_eq!(
        (record.state, record.fence, record.outcome.as_deref()),
        (State::Done, done.fence, Some(b"result".as_slice())),
        "the record completed before the restart"
    );
    again.confirm(&done, complete).await;
    let record = again.done(&bench.request("buried")).await;
    assert_eq!(
        (record.state, record.reason.as_deref()),
        (State::Buried, Some("it will never succeed")),
        "the record buried before the restart"
    );
    let next = again.acquire(&bench.request("released")).await;
    assert_eq!(
        (next.attempt, next.previous),
        (2, Previous::Released),
        "attempt, and how the one before the restart ended"
    );
    assert!(next.fence > released.fence, "fence {} after fence {}", next.fence, released.fence);
}

async fn settled(bench: &Bench, id: &str, action: Settle) -> Lease {
    let lease = bench.a.acquire(&bench.request(id)).await;
    bench.a.confirm(&lease, action).await;
    lease
}
