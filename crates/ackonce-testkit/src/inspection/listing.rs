//! Listing: pages of records, each of them once.

use std::collections::HashSet;
use std::slice;
use std::time::Duration;

use ackonce::Key;
use ackonce::store::{AdminOutcome, Entry, Filter, Query, Settle, State};

use super::Fixture;
use super::bench::{Bench, LONG, STATES, Walk, complete, of, the_entry, waiting};
use super::looking::same;

/// The tolerance for a store that rounds a record's life up.
fn rounded(most: Duration) -> Duration {
    most + most / 32 + Duration::from_secs(1)
}

/// A walk over all pages meets every record, in any state, exactly once.
pub async fn every_record_is_listed_once(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let mut keys = Vec::new();
    for (n, state) in STATES.into_iter().enumerate() {
        keys.extend(bench.some(20 + n, state.as_str(), state).await);
    }
    for limit in [23, 100, 100_000, usize::MAX] {
        each_once(&keys, &bench.list_all(None, limit).await);
    }
}

fn each_once(keys: &[Key], entries: &[Entry]) {
    let found = of(keys, entries);
    for key in keys {
        let times = found.get(key).map_or(0, Vec::len);
        assert_eq!(times, 1, "how often {key:?} is listed, of {} entries", entries.len());
    }
    let digests: HashSet<_> = found.values().flatten().map(|e| &e.digest).collect();
    assert_eq!(digests.len(), keys.len(), "each has a digest of its own");
}

/// A list of one state has that state's records and no others.
pub async fn a_state_lists_its_own_records_only(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let mut keys = Vec::new();
    for state in STATES {
        keys.push((state, bench.some(7, state.as_str(), state).await));
    }
    for (state, keys) in keys {
        let entries = bench.list_all(Some(state), 5).await;
        each_once(&keys, &entries);
        let stranger = entries.iter().find(|e| e.record.state != state);
        assert_eq!(stranger, None, "among the {} ones", state.as_str());
    }
}

/// No page is longer than asked for, and a short one that is not the last names the next.
pub async fn a_page_keeps_to_its_limit(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    bench.some(9, "done", State::Done).await;
    for limit in [1, 2, 4] {
        // Nine were there throughout, so that many are met, mine or not, before the pages may end.
        let (mut walk, mut met, mut pages) =
            (Walk::new(&bench.b, Some(State::Done), limit), HashSet::new(), 0);
        while met.len() < 9
            && let Some(page) = walk.next().await
        {
            met.extend(page.into_iter().map(|entry| entry.digest));
            pages += 1;
        }
        assert!(met.len() >= 9, "the pages ended after {} of at least 9 records", met.len());
        assert!(pages * limit >= 9, "{pages} pages of at most {limit}");
    }
}

/// An entry shows the same record as [`look`](ackonce::store::Inspect::look), and names, if any, that are true.
pub async fn a_listed_record_is_the_one_that_look_shows(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for state in STATES {
        let keys = bench.some(1, state.as_str(), state).await;
        let entries = bench.list_all(Some(state), 100).await;
        let entry = the_entry(&keys[0], &entries);
        assert_eq!(
            same(entry.record.clone()),
            same(bench.a.record(&keys[0]).await),
            "the listed record is the one that look shows"
        );
        let seen = bench.a.look(&keys[0]).await.unwrap_or_else(|| panic!("{:?} is listed", keys[0]));
        assert_eq!(seen.digest, entry.digest, "the digest of the listed record");
        assert_eq!(seen.scope.as_deref(), Some(bench.scope.name()), "the scope that was asked about");
        assert_eq!(seen.id.as_ref(), Some(keys[0].id()), "the message ID that was asked about");
        assert!(seen.expires_in <= entry.expires_in + LONG && seen.free_in <= rounded(LONG), "{seen:?}");
        assert_eq!(seen.free_in.is_zero(), state != State::Claimed, "{seen:?}");
        if let Some(scope) = &entry.scope {
            assert_eq!(scope, bench.scope.name(), "the scope of the listed record");
        }
        if let Some(id) = &entry.id {
            assert_eq!(id, keys[0].id(), "the message ID of the listed record");
        }
    }
}

/// An entry shows the remaining life of its record, and the lease or back-off before the next claim.
pub async fn a_listed_record_tells_its_times(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let held = bench.claimed("held").await;
    let lapsed = bench.lapsed("lapsed").await;
    let done = bench.settled("done", Settle::Complete { window: LONG * 2, outcome: None }).await;
    let waits = bench.settled("waits", waiting()).await;
    let entries = bench.list_all(None, 100).await;
    let within = |what, time: Duration, most: Duration| {
        assert!(!time.is_zero() && time <= rounded(most), "{what} in {time:?} of {most:?}");
    };
    let entry = the_entry(&held.key, &entries);
    within("a held lease ends", entry.free_in, LONG);
    within("a held claim is forgotten", entry.expires_in, LONG * 2);
    assert!(entry.expires_in >= entry.free_in, "a record outlives its lease or back-off");
    let entry = the_entry(&lapsed.key, &entries);
    assert_eq!(entry.free_in, Duration::ZERO, "it has ended");
    within("a lapsed claim is forgotten", entry.expires_in, LONG);
    let entry = the_entry(&waits.key, &entries);
    within("a back-off ends", entry.free_in, LONG);
    within("a message that waits is forgotten", entry.expires_in, LONG * 2);
    let entry = the_entry(&done.key, &entries);
    assert_eq!(entry.free_in, Duration::ZERO, "a done message has no lease to wait for");
    within("a completion is forgotten", entry.expires_in, LONG * 2);
    assert!(entry.expires_in > LONG, "its window counts, not its claim's");
}

/// An expired record is not there, whether it was dropped yet or not.
pub async fn an_expired_record_is_not_listed(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let gone = bench.expired("gone").await;
    let there = bench.settled("there", complete()).await;
    for state in [None, Some(State::Done)] {
        let entries = bench.list_all(state, 100).await;
        assert!(of(slice::from_ref(&gone.key), &entries).is_empty(), "listed after its window");
        the_entry(&there.key, &entries);
    }
}

/// A record added between two pages makes a walk neither skip nor repeat another.
pub async fn records_that_come_meanwhile_disturb_no_walk(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let keys = bench.some(60, "old", State::Done).await;
    let mut walk = Walk::new(&bench.b, None, 7);
    let (mut entries, mut pages) = (Vec::new(), 0);
    while let Some(page) = walk.next().await {
        entries.extend(page);
        pages += 1;
        if pages < 9 {
            bench.some(5, &format!("new after page {pages}"), State::Done).await;
        }
    }
    each_once(&keys, &entries);
}

/// A record removed between two pages makes a walk neither skip nor repeat another.
pub async fn records_that_go_meanwhile_disturb_no_walk(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let keys = bench.some(60, "old", State::Done).await;
    let mut walk = Walk::new(&bench.b, None, 7);
    let mut entries = Vec::new();
    while let Some(page) = walk.next().await {
        for key in of(&keys, &page).into_keys() {
            assert_eq!(
                bench.a.forget(&key).await,
                AdminOutcome::Yes,
                "a record is forgotten during a listing"
            );
        }
        entries.extend(page);
    }
    each_once(&keys, &entries);
}

/// A cursor that the store did not make is an error, not the start of another walk.
pub async fn a_foreign_cursor_is_refused(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    bench.some(3, "done", State::Done).await;
    for cursor in [b"not a cursor \xff\0'".to_vec(), vec![0xff; 5000]] {
        let page = bench
            .b
            .try_list(&Query { filter: Filter::default(), limit: 5, after: Some(cursor.into()) })
            .await;
        assert!(page.is_err(), "answered with {page:?}");
    }
}
