//! The statistics of a store.

use ackonce::store::{AdminOutcome, State, Stats};

use super::Fixture;
use super::bench::{Bench, STATES, complete};

fn counts(stats: Stats) -> [u64; 4] {
    [stats.claimed, stats.released, stats.done, stats.buried]
}

/// Among records of others, which come and go, no fewer than mine; alone, mine to the last.
async fn holds(bench: &Bench, mine: [u64; 4]) {
    let found = counts(bench.b.stats().await);
    let enough = found.iter().zip(mine).all(|(found, mine)| *found >= mine);
    assert!(
        enough && (found == mine || !bench.alone),
        "claimed, released, done, buried: {found:?} of {mine:?}"
    );
}

/// Every record is counted under its state.
pub async fn every_state_is_counted(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for (state, count) in STATES.into_iter().zip([2, 3, 5, 7]) {
        bench.some(count, state.as_str(), state).await;
    }
    holds(&bench, [2, 3, 5, 7]).await;
}

/// A record that changes its state is counted under the new one alone.
pub async fn a_change_moves_the_count(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let keys = bench.some(3, "done", State::Done).await;
    let lease = bench.claimed("claimed").await;
    holds(&bench, [1, 0, 3, 0]).await;
    bench.a.confirm(&lease, complete()).await;
    holds(&bench, [0, 0, 4, 0]).await;
    assert_eq!(bench.a.redrive(&keys[0]).await, AdminOutcome::Yes, "a done record is redriven");
    holds(&bench, [0, 1, 3, 0]).await;
}

/// Released and buried records are counted under the name of their scope, and no record is counted twice.
pub async fn every_scope_is_counted(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    bench.some(2, "done", State::Done).await;
    bench.some(3, "buried", State::Buried).await;
    bench.some(4, "released", State::Released).await;
    let scopes = bench.b.scopes().await;
    let mine: Vec<_> =
        scopes.iter().filter(|stats| stats.scope.as_deref() == Some(bench.scope.name())).collect();
    assert!(mine.len() == 1 && (mine[0].released, mine[0].buried) == (4, 3), "{mine:?}");
    assert!(scopes.is_sorted_by_key(|stats| stats.scope.as_deref()), "sorted by scope: {scopes:?}");
    if bench.alone {
        assert_eq!(counts(Stats::of(&scopes)), [0, 4, 2, 3], "claimed, released, done, buried of all scopes");
    }
}

/// A store that can tell its size is not empty with records in it.
pub async fn a_size_is_that_of_something(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    bench.some(3, "done", State::Done).await;
    assert_ne!(
        bench.b.stats().await.bytes,
        Some(0),
        "a store with records takes some bytes, or does not know how many"
    );
}
