//! Filters: a list has the records that match, all of them, and no others.

use std::collections::HashSet;
use std::time::Duration;

use ackonce::store::{AdminOutcome, Entry, Filter, Query, Settle, State};
use ackonce::{Key, Scope};

use super::Fixture;
use super::bench::{Bench, LONG, STATES, Walk, buried_for, complete, end_of, key, of, release};
use crate::seed::Dice;

/// Names that a careless comparison takes for others.
fn scopes_beside(bench: &Bench) -> [Scope; 4] {
    ["", "\u{e9}", "e\u{301}", "%_'"].map(|end| bench.scope_named(end))
}

/// Those of the keys that are listed.
fn met(keys: &[Key], entries: &[Entry]) -> HashSet<Key> {
    of(keys, entries).into_keys().collect()
}

/// A scope's name finds the records of that scope, and of no other that looks alike.
pub async fn a_scope_lists_its_own_records_only(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let scopes = scopes_beside(&bench);
    let mut all = Vec::new();
    for scope in &scopes {
        for (n, end) in [release(), buried_for("no use"), release()].into_iter().enumerate() {
            all.push(
                bench
                    .ended(key(scope, [&b"id \0 \xff"[..], &[u8::try_from(n).unwrap_or(0)]].concat()), end)
                    .await,
            );
        }
    }
    for scope in &scopes {
        let filter = Filter { scope: Some(scope.name().to_owned()), ..Filter::default() };
        let entries = bench.list_by(&filter, 2).await;
        let mine: HashSet<_> = all.iter().filter(|key| key.scope().name() == scope.name()).cloned().collect();
        assert_eq!(met(&all, &entries), mine, "the records of {scope:?}");
        assert!(entries.iter().all(|entry| entry.scope.as_deref() == Some(scope.name())), "{entries:?}");
    }
}

/// Released and buried records show scope and message ID, byte for byte.
pub async fn released_and_buried_records_have_names(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for scope in scopes_beside(&bench) {
        for (id, end) in
            [(&b"\0"[..], release()), (b"\xff\xfe", buried_for("no use")), (&[7; 900], release())]
        {
            let key = bench.ended(key(&scope, id), end).await;
            let filter = Filter { scope: Some(scope.name().to_owned()), ..Filter::default() };
            let entries = bench.list_by(&filter, 100).await;
            let entry = super::bench::the_entry(&key, &entries);
            assert_eq!(entry.id.as_deref(), Some(id), "the message ID");
        }
    }
}

/// Redriven records wait for their next run as released ones do, and show scope and message ID as they do.
pub async fn redriven_records_have_names(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let scope = bench.scope_named(" redriven");
    for (id, end) in [(&b"done"[..], complete()), (b"buried", buried_for("no use"))] {
        let key = bench.ended(key(&scope, id), end).await;
        assert_eq!(bench.b.redrive(&key).await, AdminOutcome::Yes, "a redrive");
        let filter = Filter { scope: Some(scope.name().to_owned()), ..Filter::default() };
        let entries = bench.list_by(&filter, 100).await;
        let entry = super::bench::the_entry(&key, &entries);
        assert_eq!((entry.record.state, entry.id.as_deref()), (State::Released, Some(id)), "the message ID");
    }
}

/// A part of a reason finds the buried records with that reason: letter for letter, and nothing in it is a pattern.
pub async fn a_part_of_the_reason_finds_its_records(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let reasons = ["the bank is closed: 50%", "The Bank is open", "no _use_ \u{2713}", "a \0 b", ""];
    let mut keys = Vec::new();
    for (n, reason) in reasons.iter().enumerate() {
        keys.push(bench.ended(bench.key(format!("id {n}")), buried_for(reason)).await);
    }
    keys.push(bench.ended(bench.key("released"), release()).await);
    let parts = [
        "bank is",
        "Bank",
        "closed: 50%",
        "%",
        "_",
        "\u{2713}",
        "\0",
        "",
        "no use",
        "the bank is closed: 50%!",
    ];
    for part in parts {
        let filter = Filter { reason: Some(part.to_owned()), ..Filter::default() };
        let entries = bench.list_by(&filter, 3).await;
        let wanted = reasons.iter().zip(&keys).filter(|(reason, _)| reason.contains(part));
        assert_eq!(met(&keys, &entries), wanted.map(|(_, key)| key.clone()).collect(), "{part:?}");
        let other =
            entries.iter().find(|e| !e.record.reason.as_ref().is_some_and(|reason| reason.contains(part)));
        assert_eq!(other, None, "a record without {part:?} in its reason");
    }
}

/// An age lists the records that were claimed at least that long ago.
pub async fn an_age_lists_older_records_only(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for state in STATES {
        let old = bench.some(1, &format!("old {}", state.as_str()), state).await;
        // Ages grow while the list is made: it is conclusive if the younger one is still too young after it. The next
        // round has a younger one, and an older one that is older by then.
        let mut round = 0;
        let new = loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let new = bench.some(1, &format!("new {} {round}", state.as_str()), state).await;
            let age = bench.b.record(&old[0]).await.age;
            let filter = Filter { state: Some(state), older_than: Some(age), ..Filter::default() };
            let entries = bench.list_by(&filter, 100).await;
            assert!(met(&old, &entries).len() == 1, "a {} record of that age is listed", state.as_str());
            if bench.b.record(&new[0]).await.age < age {
                assert!(met(&new, &entries).is_empty(), "a younger {} record is not", state.as_str());
                break new;
            }
            round += 1;
        };
        let filter = Filter { state: Some(state), older_than: Some(LONG), ..Filter::default() };
        assert!(met(&new, &bench.list_by(&filter, 100).await).is_empty(), "nothing is as old as {LONG:?}");
    }
}

/// All conditions of a filter hold for each record that it lists, and it lists every such record: as a search through
/// all records says.
pub async fn filters_agree_with_a_plain_search(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let mut dice = Dice::new(4);
    let scopes = [bench.scope_named(" a"), bench.scope_named(" b")];
    let reasons = ["one", "two", "one and two"];
    let mut keys = Vec::new();
    for n in 0..48 {
        let key = key(&scopes[dice.index(2)], format!("id {n}"));
        keys.push(match end_of(STATES[dice.index(4)]) {
            None => bench.a.acquire(&super::bench::request(key)).await.key,
            Some(Settle::Bury { .. }) => bench.ended(key, buried_for(reasons[dice.index(3)])).await,
            Some(end) => bench.ended(key, end).await,
        });
    }
    let all = bench.list_by(&Filter::default(), 1000).await;
    for _ in 0..60 {
        let mut some = |of: usize| Some(dice.index(of + 1)).filter(|n| *n < of);
        let filter = Filter {
            state: some(4).map(|n| STATES[n]),
            scope: some(2).map(|n| scopes[n].name().to_owned()),
            reason: some(3).map(|n| reasons[n].to_owned()),
            // Whole minutes: no record comes of age meanwhile.
            older_than: some(2).map(|n| LONG * u32::try_from(n).unwrap_or(0)),
        };
        let found = all.iter().filter(|entry| filter.matches(entry.scope.as_deref(), &entry.record));
        let found: Vec<_> = found.cloned().collect();
        let entries = bench.list_by(&filter, 1 + some(9).unwrap_or(99)).await;
        assert_eq!(met(&keys, &entries), met(&keys, &found), "{filter:?}");
        let others: Vec<_> =
            entries.iter().filter(|e| !filter.matches(e.scope.as_deref(), &e.record)).collect();
        assert!(others.is_empty(), "{filter:?} does not hold for {others:?}");
    }
}

/// A filter that nothing matches comes to an end, without an entry.
pub async fn a_filter_without_matches_ends(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    bench.some(30, "done", State::Done).await;
    bench.some(3, "buried", State::Buried).await;
    let nowhere = Some(format!("{} nowhere", bench.scope.name()));
    let nothing = Some(format!("{nowhere:?}"));
    for filter in [
        Filter { scope: nowhere.clone(), ..Filter::default() },
        Filter { scope: Some(String::new()), ..Filter::default() },
        Filter { reason: nothing.clone(), ..Filter::default() },
        Filter { state: Some(State::Done), scope: nowhere, ..Filter::default() },
        Filter { state: Some(State::Claimed), reason: Some(String::new()), ..Filter::default() },
        Filter { older_than: Some(Duration::MAX), ..Filter::default() },
    ] {
        assert_eq!(bench.list_by(&filter, 1).await, [], "{filter:?}");
    }
}

/// Redriving each record of a page as it comes, as an operator does, skips none and repeats none.
pub async fn changes_of_a_page_disturb_no_filtered_walk(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let keys = bench.some(25, "buried", State::Buried).await;
    let scope = Some(bench.scope.name().to_owned());
    let filter = Filter { state: Some(State::Buried), scope, ..Filter::default() };
    let (mut walk, mut entries) = (Walk::by(&bench.b, filter, 4), Vec::new());
    while let Some(page) = walk.next().await {
        for entry in &page {
            assert_eq!(bench.a.redrive_listed(entry).await, AdminOutcome::Yes, "{entry:?}");
        }
        entries.extend(page);
    }
    let found = of(&keys, &entries);
    assert!(keys.iter().all(|key| found.get(key).is_some_and(|met| met.len() == 1)), "{found:?}");
}

/// A cursor continues the list of its own filter; with another filter it is an error.
pub async fn a_cursor_of_another_filter_is_refused(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    bench.some(3, "done", State::Done).await;
    bench.some(3, "buried", State::Buried).await;
    for state in [None, Some(State::Done), Some(State::Buried)] {
        let filter = Filter { state, ..Filter::default() };
        let first = bench.b.list(&Query { filter, limit: 1, after: None }).await;
        let other = Filter { state, reason: Some("no".into()), ..Filter::default() };
        let page = bench.b.try_list(&Query { filter: other, limit: 1, after: first.next.clone() }).await;
        assert!(first.next.is_some() && page.is_err(), "answered with {page:?}");
    }
}
