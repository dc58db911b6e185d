//! Changes of listed records: with or without names, and only if they are still as they were listed.

use ackonce::store::{AdminOutcome, Entry, Filter, State};
use ackonce::{Key, Previous};

use super::Fixture;
use super::bench::{Bench, complete, the_entry};

async fn listed(bench: &Bench, key: &Key, state: State) -> Entry {
    let filter = Filter { state: Some(state), ..Filter::default() };
    the_entry(key, &bench.list_by(&filter, 100).await).clone()
}

/// A listed record is forgotten or redriven as by its key, in each state.
pub async fn a_listed_record_is_changed(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for state in [State::Released, State::Done, State::Buried] {
        let keys = bench.some(2, state.as_str(), state).await;
        let entry = listed(&bench, &keys[0], state).await;
        assert_eq!(bench.a.forget_listed(&entry).await, AdminOutcome::Yes, "{state:?}");
        assert_eq!(bench.b.get(&keys[0]).await, None, "{state:?}");
        let entry = listed(&bench, &keys[1], state).await;
        let expected = if state == State::Released { AdminOutcome::Nothing } else { AdminOutcome::Yes };
        assert_eq!(bench.a.redrive_listed(&entry).await, expected, "{state:?}");
        let lease = bench.b.acquire(&super::bench::request(keys[1].clone())).await;
        assert_eq!(lease.previous, Previous::Released, "{state:?}");
    }
}

/// A record that has run or changed since it was listed is left alone: its message does not run twice.
pub async fn a_listed_record_that_has_changed_is_left_alone(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let keys = bench.some(1, "buried", State::Buried).await;
    let entry = listed(&bench, &keys[0], State::Buried).await;
    assert_eq!(bench.b.redrive(&keys[0]).await, AdminOutcome::Yes, "by another operator");
    assert_eq!(bench.a.forget_listed(&entry).await, AdminOutcome::Nothing, "it is released by now");
    let lease = bench.a.acquire(&super::bench::request(keys[0].clone())).await;
    assert_eq!(bench.a.redrive_listed(&entry).await, AdminOutcome::Nothing, "it runs");
    bench.a.confirm(&lease, complete()).await;
    assert_eq!(bench.a.redrive_listed(&entry).await, AdminOutcome::Nothing, "it is done");
    assert_eq!(bench.a.forget_listed(&entry).await, AdminOutcome::Nothing, "it is done");
    assert_eq!(bench.b.record(&keys[0]).await.state, State::Done, "it is done");
    // The same fence in another state, and the same state under another fence.
    let lapsed = bench.lapsed("lapsed").await;
    let entry = listed(&bench, &lapsed.key, State::Claimed).await;
    bench.a.confirm(&lapsed, complete()).await;
    assert_eq!(bench.a.forget_listed(&entry).await, AdminOutcome::Nothing, "it ended late, and is done");
    let keys = bench.some(1, "again", State::Done).await;
    let entry = listed(&bench, &keys[0], State::Done).await;
    assert_eq!(bench.b.redrive(&keys[0]).await, AdminOutcome::Yes, "by another operator");
    bench.settled("again 0", complete()).await;
    assert_eq!(bench.a.redrive_listed(&entry).await, AdminOutcome::Nothing, "it has run once more already");
}

/// No operator can make a running message run a second time by a list either.
pub async fn a_live_listed_claim_is_left_alone(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.claimed("id").await;
    let entry = listed(&bench, &lease.key, State::Claimed).await;
    assert_eq!(bench.b.forget_listed(&entry).await, AdminOutcome::InFlight, "a live claim");
    assert_eq!(bench.b.redrive_listed(&entry).await, AdminOutcome::InFlight, "a live claim");
    bench.a.confirm(&lease, complete()).await;
}
