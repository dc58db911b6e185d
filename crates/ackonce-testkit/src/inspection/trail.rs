//! The trail of changes by hand.

use ackonce::store::{AdminOutcome, Filter, State};

use super::Fixture;
use super::bench::{Bench, complete, the_entry};
use super::client::note;

/// Every change of a key is on its trail, the newest last, with its author, reason and time.
pub async fn each_change_is_on_the_trail(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let keys = bench.some(1, "id", State::Buried).await;
    assert_eq!(bench.a.redrive(&keys[0]).await, AdminOutcome::Yes, "a buried record");
    bench.settled("id 0", complete()).await;
    let filter = Filter { state: Some(State::Done), ..Filter::default() };
    let entry = the_entry(&keys[0], &bench.list_by(&filter, 100).await).clone();
    assert_eq!(bench.a.redrive_listed(&entry).await, AdminOutcome::Yes, "a done record");
    assert_eq!(bench.b.forget(&keys[0]).await, AdminOutcome::Yes, "a released record");
    let trail = bench.b.audit(&keys[0]).await;
    let changes: Vec<_> = trail.iter().map(|change| (change.operation.as_str(), change.before)).collect();
    let expected = [("redrive", State::Buried), ("redrive", State::Done), ("forget", State::Released)];
    assert_eq!(changes, expected, "the changes in their order");
    for change in &trail {
        let known = (change.actor.as_str(), change.reason.as_str());
        assert_eq!(known, (note().actor.as_str(), note().reason.as_str()), "author and reason");
    }
    assert!(trail.windows(2).all(|pair| pair[0].age >= pair[1].age), "the newest last: {trail:?}");
}

/// An operation that changed nothing is not a change.
pub async fn a_refused_change_leaves_no_trail(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let live = bench.claimed("live").await.key;
    let released = bench.some(1, "released", State::Released).await;
    let unknown = bench.key("unknown");
    bench.b.forget(&live).await;
    bench.b.redrive(&released[0]).await;
    bench.b.forget(&unknown).await;
    for key in [&live, &released[0], &unknown] {
        assert_eq!(bench.a.audit(key).await, [], "{key:?}");
    }
}

/// The trail of a key has no changes of others.
pub async fn a_trail_is_of_one_key(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let keys = bench.some(3, "id", State::Done).await;
    assert_eq!(bench.a.forget(&keys[0]).await, AdminOutcome::Yes, "a done record");
    assert_eq!(bench.a.redrive(&keys[1]).await, AdminOutcome::Yes, "a done record");
    let lengths =
        [bench.b.audit(&keys[0]).await, bench.b.audit(&keys[1]).await, bench.b.audit(&keys[2]).await];
    assert_eq!(lengths.map(|trail| trail.len()), [1, 1, 0], "the changes of each key");
}
