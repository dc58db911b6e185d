//! Progress: it is saved under a claim, and given to the claims after it until the message is done.

use ackonce::store::{Lease, Settle, Settled, Settlement, State};

use super::Fixture;
use super::bench::{Bench, Client, LONG, SHORT, bury, complete, extend, redrive, refund, release};
use super::durability::is_lost_with_process;

fn save(progress: impl AsRef<[u8]>) -> Settle {
    Settle::Save { progress: progress.as_ref().to_vec().into() }
}

fn progress(lease: &Lease) -> Option<&[u8]> {
    lease.progress.as_deref()
}

/// Saved progress comes with the next claim, however the attempt before it has ended.
pub async fn progress_is_given_to_the_next_claim(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let first = bench.a.acquire(&bench.request("id")).await;
    assert_eq!(progress(&first), None, "there is none at a first attempt");
    bench.a.confirm(&first, save("one")).await;
    bench.a.confirm(&first, extend()).await;
    bench.a.confirm(&first, release()).await;
    let second = bench.b.acquire(&bench.request("id")).await;
    assert_eq!(progress(&second), Some(&b"one"[..]), "after an extension and a release");
    bench.b.confirm(&second, save("one two")).await;
    bench.b.confirm(&second, refund()).await;
    let third = bench.a.acquire(&bench.short("id")).await;
    assert_eq!(progress(&third), Some(&b"one two"[..]), "after a release that is not counted");
    let fourth = bench.b.acquire_at_last(|| bench.request("id")).await;
    assert_eq!(progress(&fourth), Some(&b"one two"[..]), "after an attempt that vanished");
}

/// A repeated claim is answered with the progress that was saved since the first one.
pub async fn a_repeated_claim_brings_progress(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let request = bench.request("id");
    let lease = bench.a.acquire(&request).await;
    bench.a.confirm(&lease, save("half")).await;
    let again = bench.b.acquire(&request).await;
    assert_eq!(
        (again.fence, progress(&again)),
        (lease.fence, Some(&b"half"[..])),
        "the same claim, repeated"
    );
}

/// Any bytes are kept as they are, none at all too.
pub async fn progress_comes_back_byte_for_byte(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let all: Vec<u8> = (0..=u8::MAX).collect();
    for (n, bytes) in
        [Vec::new(), b"\xff\xff\0".to_vec(), all.clone(), all.repeat(1200)].into_iter().enumerate()
    {
        let id = format!("id {n}");
        let lease = bench.a.acquire(&bench.request(&id)).await;
        bench.a.confirm(&lease, save(&bytes)).await;
        bench.a.confirm(&lease, release()).await;
        let next = bench.b.acquire(&bench.request(&id)).await;
        assert!(progress(&next) == Some(&bytes), "{} bytes come back after a release", bytes.len());
        bench.b.confirm(&next, bury()).await;
        bench.b.confirm(&next, redrive()).await;
        let next = bench.a.acquire(&bench.request(&id)).await;
        assert!(progress(&next) == Some(&bytes), "{} bytes come back after a burial", bytes.len());
    }
}

/// A shorter progress is an earlier copy that comes late: it is confirmed, and changes nothing.
pub async fn progress_only_grows(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    for bytes in ["one", "one two", "one", "", "one TWO"] {
        bench.a.confirm(&lease, save(bytes)).await;
    }
    bench.a.confirm(&lease, save("one")).await;
    bench.a.confirm(&lease, release()).await;
    let next = bench.b.acquire(&bench.request("id")).await;
    assert_eq!(progress(&next), Some(&b"one TWO"[..]), "the last of the longest");
}

/// A claim that was taken over saves nothing any more.
pub async fn an_old_fence_saves_nothing(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let (old, new) = bench.taken_over("id").await;
    bench.a.lose(&old, save("by the old one")).await;
    bench.b.confirm(&new, save("new")).await;
    bench.a.lose(&old, save("by the old one")).await;
    bench.b.confirm(&new, release()).await;
    let next = bench.a.acquire(&bench.request("id")).await;
    assert_eq!(progress(&next), Some(&b"new"[..]), "the progress of the holder alone");
}

/// A claim that was settled saves nothing any more.
pub async fn a_settled_claim_saves_nothing(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for (n, end) in [complete(), release(), bury()].into_iter().enumerate() {
        let lease = bench.a.acquire(&bench.request(format!("id {n}"))).await;
        bench.a.confirm(&lease, end).await;
        bench.b.lose(&lease, save("late")).await;
    }
    assert_eq!(bench.a.done(&bench.request("id 0")).await.outcome, None, "the outcome of a completion");
    assert_eq!(progress(&bench.a.acquire(&bench.request("id 1")).await), None, "the progress of a release");
    assert_eq!(bench.a.done(&bench.request("id 2")).await.progress, None, "the progress of a burial");
}

/// A message that is done has an outcome, and no progress.
pub async fn progress_ends_with_the_completion(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for (id, outcome) in [("without", None), ("with", Some("result".into()))] {
        let lease = bench.a.acquire(&bench.request(id)).await;
        bench.a.confirm(&lease, save("half")).await;
        bench.a.confirm(&lease, Settle::Complete { window: LONG, outcome: outcome.clone() }).await;
        let record = bench.b.done(&bench.request(id)).await;
        assert_eq!(
            (record.state, record.outcome, record.progress),
            (State::Done, outcome, None),
            "{id} outcome"
        );
    }
}

/// A burial keeps progress beside its reason, and its letter's redrive gives it to the next claim.
pub async fn a_burial_keeps_progress(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&lease, save("half")).await;
    bench.a.confirm(&lease, bury()).await;
    let record = bench.b.done(&bench.request("id")).await;
    assert_eq!(
        (record.reason.as_deref(), record.progress.as_deref(), record.outcome),
        (Some("it will never succeed"), Some(&b"half"[..]), None),
        "reason, progress and outcome of a buried message"
    );
    bench.b.confirm(&lease, redrive()).await;
    let next = bench.a.acquire(&bench.request("id")).await;
    assert_eq!((next.attempt, progress(&next)), (1, Some(&b"half"[..])), "the progress after a redrive");
}

/// A save is no heartbeat.
pub async fn a_save_moves_no_lease(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.short("id")).await;
    bench.a.confirm(&lease, save("half")).await;
    bench.pass(SHORT).await;
    let next = bench.b.acquire(&bench.request("id")).await;
    assert_eq!(
        (next.attempt, progress(&next)),
        (2, Some(&b"half"[..])),
        "attempt and progress after the lease"
    );
}

/// Progress and the release after it travel in one batch.
pub async fn progress_and_its_release_share_a_batch(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let (one, two) =
        (bench.a.acquire(&bench.request("one")).await, bench.a.acquire(&bench.request("two")).await);
    let settlements = [
        Settlement::new(&one, save("half")),
        Settlement::new(&two, save("whole")),
        Settlement::new(&one, release()),
        Settlement::new(&two, refund()),
    ];
    assert_eq!(bench.b.settle_all(&settlements).await, [Settled::Yes; 4], "each in its turn");
    assert_eq!(progress(&bench.a.acquire(&bench.request("one")).await), Some(&b"half"[..]), "of the first");
    assert_eq!(progress(&bench.a.acquire(&bench.request("two")).await), Some(&b"whole"[..]), "of the second");
}

/// Saved progress is there for the next process.
pub async fn progress_outlives_its_process(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.request("id")).await;
    bench.a.confirm(&lease, save("half")).await;
    let again = Client(fixture.reopen().await);
    if is_lost_with_process(&*bench.a.0) {
        return;
    }
    again.confirm(&lease, release()).await;
    let next = again.acquire(&bench.request("id")).await;
    assert_eq!(progress(&next), Some(&b"half"[..]), "the progress saved before the restart");
}
