//! A dropped future leaves its outcome unknown, as a lost reply does: never wrong, never stuck.

use std::future::Future;
use std::pin::pin;
use std::slice;

use ackonce::store::{Settlement, State};
use futures_util::poll;

use super::Fixture;
use super::bench::{Bench, LONG, SHORT, complete};

/// The number of rounds. Round n drops its call after n polls: at once, in between, or when it may be done.
const ROUNDS: usize = 10;

/// Polls a call some times, later ones a moment apart so that work elsewhere gets on, and drops it.
async fn dropped_after<F: Future>(polls: usize, call: F) {
    let mut call = pin!(call);
    for n in 0..polls {
        if poll!(call.as_mut()).is_ready() {
            return;
        }
        match n {
            0..4 => tokio::task::yield_now().await,
            _ => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
        }
    }
}

/// Applied or not, a dropped claim blocks its key for no longer than its lease.
pub async fn a_dropped_claim_frees_the_key_within_a_lease(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for polls in 0..ROUNDS {
        let id = format!("id {polls}");
        let request = bench.short(&id);
        dropped_after(polls, bench.a.0.claim(slice::from_ref(&request))).await;
        let lease = bench.b.acquire_at_last(|| bench.request(&id)).await;
        assert!(lease.attempt <= 2, "attempt {} after one that was dropped", lease.attempt);
        bench.b.confirm(&lease, complete()).await;
    }
}

/// The same claim again, after its future was dropped, is granted, and is one attempt.
pub async fn a_dropped_claim_can_be_repeated(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for polls in 0..ROUNDS {
        let id = format!("id {polls}");
        let request = bench.request(&id);
        dropped_after(polls, bench.a.0.claim(slice::from_ref(&request))).await;
        let lease = bench.b.acquire(&request).await;
        assert_eq!(lease.attempt, 1, "the same claim again is one attempt");
        bench.pass(SHORT).await;
        assert_eq!(bench.a.acquire(&request).await, lease, "also once the dropped one has long arrived");
        let free_in = bench.b.busy(&bench.request(&id)).await;
        assert!(free_in <= LONG, "busy for {free_in:?} of a lease of {LONG:?}");
    }
}

/// The same settlement again, after its future was dropped, is confirmed.
pub async fn a_dropped_settlement_can_be_repeated(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for polls in 0..ROUNDS {
        let id = format!("id {polls}");
        let lease = bench.a.acquire(&bench.request(&id)).await;
        let settlement = Settlement::new(&lease, complete());
        dropped_after(polls, bench.a.0.settle(slice::from_ref(&settlement))).await;
        bench.b.confirm(&lease, complete()).await;
        assert_eq!(
            bench.b.done(&bench.request(&id)).await.state,
            State::Done,
            "the state after a completion that was repeated"
        );
    }
}
