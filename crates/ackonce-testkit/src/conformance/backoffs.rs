//! A back-off belongs to the record: while it lasts, no copy of the message is granted.

use std::time::Duration;

use ackonce::Previous;
use ackonce::store::{Attempt, ClaimRequest, Fingerprint, Settle, State};

use super::Fixture;
use super::bench::{Bench, LONG, SHORT, complete, release};

fn wait(attempt: Attempt, not_before: Duration) -> Settle {
    Settle::Release { attempt, window: LONG, not_before }
}

/// Every client is answered busy with the time that is left, and so is the claim that was released.
pub async fn a_back_off_holds_every_claim_off(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for attempt in [Attempt::Counts, Attempt::Refunded] {
        let failed = bench.request(format!("{attempt:?}"));
        let lease = bench.a.acquire(&failed).await;
        bench.a.confirm(&lease, wait(attempt, LONG)).await;
        let other = bench.request(format!("{attempt:?}"));
        for (who, client, request) in [
            ("the releaser", &bench.a, &failed),
            ("its client", &bench.a, &other),
            ("another", &bench.b, &other),
        ] {
            let free_in = client.busy(request).await;
            assert!(
                free_in > LONG / 2 && free_in <= LONG,
                "{who} is told {free_in:?} of {LONG:?} ({attempt:?})"
            );
        }
    }
}

/// Afterwards the next claim is granted, and its lease tells that the attempt before failed.
pub async fn a_back_off_ends(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for (attempt, counted) in [(Attempt::Counts, 2), (Attempt::Refunded, 1)] {
        let id = format!("{attempt:?}");
        let lease = bench.a.acquire(&bench.request(&id)).await;
        bench.a.confirm(&lease, wait(attempt, SHORT)).await;
        let next = bench.b.acquire_at_last(|| bench.request(&id)).await;
        assert_eq!(
            (next.attempt, next.previous),
            (counted, Previous::Released),
            "after a release that {attempt:?}"
        );
        assert!(next.fence > lease.fence, "fence {} after fence {}", next.fence, lease.fence);
        bench.b.confirm(&next, complete()).await;
        bench.a.done(&bench.request(&id)).await;
    }
}

/// It lasts as long as the release says, shorter or longer than the rest of the lease.
pub async fn a_back_off_is_not_the_lease(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let long_lease = bench.a.acquire(&bench.request("long lease")).await;
    bench.a.confirm(&long_lease, wait(Attempt::Counts, SHORT)).await;
    bench.b.acquire_at_last(|| bench.request("long lease")).await;
    let short_lease = bench.a.acquire(&bench.short("short lease")).await;
    bench.a.confirm(&short_lease, wait(Attempt::Counts, LONG)).await;
    bench.pass(SHORT * 2).await;
    bench.b.busy(&bench.request("short lease")).await;
}

/// A release whose reply was lost is repeated, and the back-off does not begin anew.
pub async fn a_repeated_release_keeps_its_back_off(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let at_once = bench.a.acquire(&bench.request("at once")).await;
    bench.a.confirm(&at_once, release()).await;
    bench.b.confirm(&at_once, wait(Attempt::Counts, LONG)).await;
    bench.b.acquire(&bench.request("at once")).await;
    let later = bench.a.acquire(&bench.request("later")).await;
    bench.a.confirm(&later, wait(Attempt::Counts, LONG)).await;
    bench.b.confirm(&later, release()).await;
    bench.b.busy(&bench.request("later")).await;
}

/// The trail is kept for its window after the back-off, so that a window of nothing does not end the back-off.
pub async fn a_back_off_outlives_a_short_window(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for window in [Duration::ZERO, SHORT] {
        let id = format!("{window:?}");
        let lease = bench.a.acquire(&bench.request(&id)).await;
        bench.a.confirm(&lease, Settle::Release { attempt: Attempt::Counts, window, not_before: LONG }).await;
        bench.pass(SHORT * 2).await;
        bench.b.busy(&bench.request(&id)).await;
    }
    let lease = bench.a.acquire(&bench.request("trail")).await;
    bench.a.confirm(&lease, wait(Attempt::Counts, SHORT)).await;
    bench.pass(SHORT * 2).await;
    let next = bench.b.acquire(&bench.request("trail")).await;
    assert_eq!(next.attempt, 2, "the trail outlives the back-off by its window");
}

/// A claim with another payload under the ID is answered as a mismatch at once, and the back-off goes on.
pub async fn another_payload_is_a_mismatch_during_a_back_off(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let with = |payload: &str| {
        let fingerprint = Some(Fingerprint::of(payload.as_bytes()));
        ClaimRequest { fingerprint, ..bench.request("id") }
    };
    let lease = bench.a.acquire(&with("one")).await;
    bench.a.confirm(&lease, wait(Attempt::Counts, LONG)).await;
    let record = bench.b.mismatch(&with("two")).await;
    assert_eq!(
        (record.state, record.fence),
        (State::Released, lease.fence),
        "the record of the first payload"
    );
    bench.b.busy(&with("one")).await;
}

/// In a batch, keys that wait and keys that do not are each answered for themselves.
pub async fn a_back_off_in_a_batch_costs_the_others_nothing(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let ids = ["waits", "waits not", "unknown"];
    let waits = bench.a.acquire(&bench.request(ids[0])).await;
    bench.a.confirm(&waits, wait(Attempt::Counts, LONG)).await;
    let not = bench.a.acquire(&bench.request(ids[1])).await;
    bench.a.confirm(&not, release()).await;
    let answers = bench.b.claim_all(&ids.map(|id| bench.request(id))).await;
    let words: Vec<_> = answers.iter().map(word).collect();
    assert_eq!(words, ["busy", "acquired", "acquired"], "answers to {ids:?}");
}

fn word(answer: &ackonce::store::Claimed) -> &'static str {
    match answer {
        ackonce::store::Claimed::Acquired(_) => "acquired",
        ackonce::store::Claimed::Busy { .. } => "busy",
        ackonce::store::Claimed::Done(_) => "done",
        ackonce::store::Claimed::Mismatch(_) => "mismatch",
    }
}
