//! Sweeping: expired records are dropped, and no others.

use ackonce::Previous;
use ackonce::store::{ClaimRequest, Settle, State};

use super::Fixture;
use super::bench::{Bench, STATES, complete};
use super::looking::same;

/// Records within their windows stay as they are, those of live and of lapsed claims among them.
pub async fn a_sweep_leaves_what_lives(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let held = bench.claimed("held").await;
    let lapsed = bench.lapsed("lapsed").await;
    let mut keys = vec![held.key.clone(), lapsed.key.clone()];
    for state in STATES {
        keys.extend(bench.some(3, state.as_str(), state).await);
    }
    let mut before = Vec::new();
    for key in &keys {
        before.push(same(bench.b.record(key).await));
    }
    bench.b.sweep().await;
    bench.a.sweep().await;
    for (key, before) in keys.iter().zip(before) {
        assert_eq!(same(bench.b.record(key).await), before, "{key:?}");
    }
    bench.b.is_busy(&bench.request("held")).await;
    bench.a.confirm(&held, complete()).await;
    let next = bench.b.acquire(&bench.request("lapsed")).await;
    assert_eq!(
        (next.attempt, next.previous),
        (2, Previous::Vanished),
        "the next attempt, and how the one before it ended"
    );
}

/// Afterwards expired records take no room.
pub async fn a_sweep_drops_what_has_expired(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let there = bench.settled("there", complete()).await;
    let held = bench.claimed("held").await;
    for n in 0..20 {
        let id = format!("gone {n}");
        let none = std::time::Duration::ZERO;
        let request = ClaimRequest { lease: none, window: none, ..bench.request(&id) };
        let lease = bench.a.acquire(&request).await;
        // Half of them are finished; the others' claims and trails have ended.
        if n % 2 == 0 {
            bench.a.settle(&lease, Settle::Complete { window: none, outcome: None }).await;
        }
        bench.b.until_absent(&lease.key).await;
    }
    bench.b.sweep().await;
    if bench.alone {
        let stats = bench.b.stats().await;
        let left = [stats.claimed, stats.released, stats.done, stats.buried];
        assert_eq!(left, [1, 0, 1, 0], "claimed, released, done, buried");
        assert_eq!(bench.b.sweep().await, 0, "there is no more to drop");
    }
    assert_eq!(
        bench.b.record(&there.key).await.state,
        State::Done,
        "a done record within its window, after a sweep"
    );
    assert_eq!(bench.b.record(&held.key).await.state, State::Claimed, "a held claim, after a sweep");
}

/// Neither expiry nor a sweep makes a fence start again.
pub async fn a_swept_key_goes_on_with_a_larger_fence(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let old = bench.expired("id").await;
    bench.b.sweep().await;
    assert_eq!(bench.b.get(&old.key).await, None, "an expired record is not shown");
    let new = bench.a.acquire(&bench.request("id")).await;
    assert_eq!((new.attempt, new.previous), (1, Previous::None), "the next attempt is a first one");
    assert!(new.fence > old.fence, "fence {} after fence {}", new.fence, old.fence);
}
