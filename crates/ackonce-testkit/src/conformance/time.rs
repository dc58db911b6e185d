//! Leases and windows: measured by the store, and nothing to do with each other.

use std::time::Duration;

use ackonce::Previous;
use ackonce::store::{Attempt, ClaimRequest, Claimed, Lease, Settle, State};
use tokio::time::Instant;

use super::Fixture;
use super::bench::{Bench, Client, LONG, SHORT, SPANS, complete, inconclusive, release};

/// A lease whose holder does nothing ends, and the key is granted to another.
pub async fn a_lease_ends(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let old = bench.a.acquire(&bench.short("id")).await;
    let new = bench.b.acquire_at_last(|| bench.request("id")).await;
    assert_eq!(
        (new.attempt, new.previous),
        (old.attempt + 1, Previous::Vanished),
        "the next attempt, and how the one before it ended"
    );
}

/// A request that was made long before it was sent is held for its whole lease nevertheless.
pub async fn a_lease_begins_when_it_is_granted(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for span in SPANS {
        let id = format!("lease of {span:?}");
        let request = ClaimRequest { lease: span, ..bench.request(&id) };
        bench.pass(span).await;
        let began = Instant::now();
        bench.a.acquire(&request).await;
        let answer = bench.b.claim(&bench.request(&id)).await;
        if began.elapsed() < span {
            assert!(matches!(answer, Claimed::Busy { .. }), "the lease has not ended: {answer:?}");
            return;
        }
    }
    inconclusive();
}

/// An extension counts from when it is made, by a holder that has held for long.
pub async fn an_extension_begins_when_it_is_made(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for span in SPANS {
        let id = format!("extension of {span:?}");
        let lease = bench.a.acquire(&bench.request(&id)).await;
        bench.pass(span).await;
        let began = Instant::now();
        bench.a.confirm(&lease, Settle::Extend { lease: span, window: LONG }).await;
        let answer = bench.b.claim(&bench.request(&id)).await;
        if began.elapsed() < span {
            let held = matches!(answer, Claimed::Busy { free_in } if free_in <= span);
            assert!(held, "extended by {span:?}: {answer:?}");
            return;
        }
    }
    inconclusive();
}

/// The clients' clocks do not matter: one client's lease holds, and ends, for every other client.
pub async fn a_lease_is_not_measured_by_the_clients(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let clients = [bench.a.clone(), bench.b.clone(), Client::open(fixture).await];
    for (n, holder) in clients.iter().enumerate() {
        for (m, other) in clients.iter().enumerate() {
            let (long, short) = (format!("long {n} {m}"), format!("short {n} {m}"));
            holder.acquire(&bench.request(&long)).await;
            let free_in = other.busy(&bench.request(&long)).await;
            assert!(free_in <= LONG, "busy for {free_in:?} of a lease of {LONG:?}");
            holder.acquire(&bench.short(&short)).await;
            other.acquire_at_last(|| bench.request(&short)).await;
        }
    }
}

/// Once the window has ended the key is absent: the next claim is a first attempt.
pub async fn a_window_ends(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let completion = Settle::Complete { window: SHORT, outcome: Some("result".into()) };
    let burial = Settle::Bury { window: SHORT, reason: "no use".to_owned() };
    for (id, action) in [("completed", completion), ("buried", burial)] {
        let lease = bench.a.acquire(&bench.request(id)).await;
        bench.a.confirm(&lease, action).await;
        is_a_first_attempt(&bench.b.acquire_at_last(|| bench.request(id)).await);
    }
}

fn is_a_first_attempt(lease: &Lease) {
    assert_eq!((lease.attempt, lease.previous), (1, Previous::None), "the key was forgotten");
}

/// The window is counted from the completion: a handler that ran for long is remembered as long.
pub async fn a_window_begins_at_the_completion(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for span in SPANS {
        let id = format!("window of {span:?}");
        let lease = bench.a.acquire(&ClaimRequest { window: span, ..bench.request(&id) }).await;
        bench.pass(span).await;
        let began = Instant::now();
        bench.a.confirm(&lease, Settle::Complete { window: span, outcome: None }).await;
        let answer = bench.b.claim(&bench.request(&id)).await;
        if began.elapsed() < span {
            assert!(matches!(answer, Claimed::Done(_)), "the window has not ended: {answer:?}");
            return;
        }
    }
    inconclusive();
}

/// The lease's end means nothing to a record that is done.
pub async fn a_done_record_outlives_the_lease(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&bench.short("id")).await;
    bench.a.confirm(&lease, complete()).await;
    bench.pass(SHORT * 3).await;
    assert_eq!(
        bench.b.done(&bench.request("id")).await.state,
        State::Done,
        "a record that is done, after the end of its lease"
    );
}

/// Fence and attempts of an unfinished attempt are kept after its lease.
pub async fn a_trail_outlives_the_lease(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let old = bench.a.acquire(&bench.short("id")).await;
    bench.pass(SHORT * 3).await;
    let new = bench.b.acquire(&bench.request("id")).await;
    assert_eq!(
        (new.attempt, new.previous),
        (2, Previous::Vanished),
        "the next attempt, and how the one before it ended"
    );
    assert!(new.fence > old.fence, "fence {} after fence {}", new.fence, old.fence);
}

/// The window begins after the lease: a short one does not cut it.
pub async fn a_lease_outlives_a_short_window(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.a.acquire(&ClaimRequest { window: SHORT, ..bench.request("claimed") }).await;
    let other = bench.a.acquire(&bench.request("extended")).await;
    bench.a.confirm(&other, Settle::Extend { lease: LONG, window: SHORT }).await;
    bench.pass(SHORT * 2).await;
    bench.b.busy(&bench.request("claimed")).await;
    bench.b.busy(&bench.request("extended")).await;
    bench.a.confirm(&lease, complete()).await;
    bench.a.confirm(&other, complete()).await;
}

/// The trail of a released key is kept for the release's window, and no longer.
pub async fn a_released_trail_ends_with_its_window(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let short = Settle::Release { attempt: Attempt::Counts, window: SHORT, not_before: Duration::ZERO };
    for (id, action) in [("kept", release()), ("forgotten", short)] {
        let lease = bench.a.acquire(&bench.request(id)).await;
        bench.a.confirm(&lease, action).await;
    }
    bench.pass(SHORT * 2).await;
    assert_eq!(
        bench.b.acquire(&bench.request("kept")).await.attempt,
        2,
        "the attempt while the trail is kept"
    );
    is_a_first_attempt(&bench.b.acquire(&bench.request("forgotten")).await);
}

/// A lease and a window of zero have ended when they begin; nothing panics, nothing sticks.
pub async fn no_time_at_all_is_survived(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let none = Duration::ZERO;
    bench.a.acquire(&ClaimRequest { lease: none, ..bench.request("id") }).await;
    let lease = bench.b.acquire_at_last(|| bench.request("id")).await;
    assert_eq!(lease.attempt, 2, "the attempt after a lease of no length");
    bench.a.confirm(&lease, Settle::Complete { window: none, outcome: None }).await;
    let lease = bench.b.acquire_at_last(|| bench.request("id")).await;
    is_a_first_attempt(&lease);
    // No trail is left, and no payload to compare the next with.
    bench
        .a
        .confirm(
            &lease,
            Settle::Release { attempt: Attempt::Refunded, window: none, not_before: Duration::ZERO },
        )
        .await;
    let lease = bench.b.acquire_at_last(|| bench.request("id")).await;
    is_a_first_attempt(&lease);
    bench.a.confirm(&lease, Settle::Extend { lease: none, window: LONG }).await;
    assert_eq!(
        bench.b.acquire_at_last(|| bench.request("id")).await.attempt,
        2,
        "the attempt after an extension of no length"
    );
}

/// The longest possible times neither panic nor overflow into the past.
pub async fn endless_times_are_survived(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let ever = Duration::MAX;
    let lease = bench.a.acquire(&ClaimRequest { lease: ever, window: ever, ..bench.request("id") }).await;
    assert!(bench.b.busy(&bench.request("id")).await > LONG, "a lease without end is longer than {LONG:?}");
    bench.a.confirm(&lease, Settle::Extend { lease: ever, window: ever }).await;
    assert!(
        bench.b.busy(&bench.request("id")).await > LONG,
        "an extension without end is longer than {LONG:?}"
    );
    bench.a.confirm(&lease, Settle::Complete { window: ever, outcome: None }).await;
    bench.b.done(&bench.request("id")).await;
}
