//! The inspection of one record: it shows the record that a claim would meet, and changes nothing.

use std::time::Duration;

use ackonce::Previous;
use ackonce::store::{AdminOutcome, Attempt, ClaimRequest, Filter, Query, Record, Settle, State};

use super::Fixture;
use super::bench::{Bench, LONG, SHORT, bury, complete, fingerprint, key, release};

/// An unclaimed key has no record, and a request for it makes none.
pub async fn an_absent_key_has_no_record(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    assert_eq!(bench.b.get(&bench.key("id")).await, None, "a key that was never seen has no record");
    assert_eq!(bench.claimed("id").await.attempt, 1, "the attempt of a key that was only inspected");
}

/// A claim is seen by every client as soon as it is answered.
pub async fn a_claim_is_shown(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.claimed("id").await;
    let record = bench.b.record(&lease.key).await;
    assert_eq!(
        (record.state, record.fence, record.attempt),
        (State::Claimed, lease.fence, 1),
        "state, fence and attempt of a claim"
    );
    assert_eq!((&record.outcome, &record.reason), (&None, &None), "a claim has neither outcome nor reason");
    let print = record.fingerprint.map(|f| f.0[..8].to_vec());
    assert_eq!(print.as_deref(), Some(&fingerprint(&lease.key).0[..8]), "the payload's fingerprint");
    assert!(record.age < LONG, "claimed {:?} ago", record.age);
}

/// A claim whose lease has ended is still shown, since the next claim meets it.
pub async fn a_lapsed_claim_is_shown(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.lapsed("id").await;
    let record = bench.b.record(&lease.key).await;
    assert_eq!(
        (record.state, record.fence, record.attempt),
        (State::Claimed, lease.fence, 1),
        "state, fence and attempt of a claim whose lease has ended"
    );
}

/// A released key shows the attempts that count.
pub async fn a_release_is_shown(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    for (attempt, counted) in [(Attempt::Counts, 1), (Attempt::Refunded, 0)] {
        let lease = bench
            .settled(
                &format!("{attempt:?}"),
                Settle::Release { attempt, window: LONG, not_before: Duration::ZERO },
            )
            .await;
        let record = bench.b.record(&lease.key).await;
        assert_eq!((record.state, record.attempt), (State::Released, counted), "{attempt:?}");
    }
}

/// A done key shows its handler's outcome, byte for byte.
pub async fn a_completion_is_shown_with_its_outcome(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.settled("id", complete()).await;
    let record = bench.b.record(&lease.key).await;
    assert_eq!(
        (record.state, record.fence, record.attempt),
        (State::Done, lease.fence, 1),
        "state, fence and attempt of a completion"
    );
    assert_eq!(record.outcome.as_deref(), Some(&b"a \0 result \xff"[..]), "the outcome, byte for byte");
}

/// A buried key shows its reason, letter for letter.
pub async fn a_burial_is_shown_with_its_reason(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.settled("id", bury()).await;
    let record = bench.b.record(&lease.key).await;
    assert_eq!((record.state, record.attempt), (State::Buried, 1), "state and attempt of a burial");
    assert_eq!(
        record.reason.as_deref(),
        Some("it's of no \"use\" \u{2717}"),
        "the reason, letter for letter"
    );
}

/// Once the window has ended the key is absent to an operator, as it is to a claim.
pub async fn an_expired_record_is_not_shown(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let completion = Settle::Complete { window: SHORT, outcome: None };
    let burial = Settle::Bury { window: SHORT, reason: "no use".to_owned() };
    let release = Settle::Release { attempt: Attempt::Counts, window: SHORT, not_before: Duration::ZERO };
    for (id, action) in [("completed", completion), ("buried", burial), ("released", release)] {
        let lease = bench.settled(id, action).await;
        bench.b.until_absent(&lease.key).await;
        let next = bench.claimed(id).await;
        assert_eq!((next.attempt, next.previous), (1, Previous::None), "{id} was shown as absent");
    }
}

/// Inspection changes neither leases nor windows.
pub async fn looking_changes_nothing(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let held = bench.claimed("held").await;
    let brief = bench.a.acquire(&ClaimRequest { lease: SHORT, ..bench.request("brief") }).await;
    let done = bench.settled("done", complete()).await;
    for _ in 0..3 {
        for lease in [&held, &brief, &done] {
            bench.b.record(&lease.key).await;
        }
        bench.b.list(&Query { filter: Filter::default(), limit: 10, after: None }).await;
        bench.b.stats().await;
    }
    let next = bench.b.acquire_at_last(|| bench.request("brief")).await;
    assert_eq!((next.attempt, next.previous), (2, Previous::Vanished), "the lease ended, the trail stayed");
    bench.b.is_busy(&bench.request("held")).await;
    bench.a.confirm(&held, complete()).await;
    assert_eq!(same(bench.b.record(&done.key).await).state, State::Done, "a done record that was inspected");
}

/// A request for one key neither shows nor changes the records of similar keys.
pub async fn lookalikes_are_left_alone(fixture: &dyn Fixture) {
    let bench = Bench::new(fixture).await;
    let lease = bench.settled("7:a", complete()).await;
    let before = same(bench.b.record(&lease.key).await);
    let mut others: Vec<_> = ["07:a", "7:A", "7:a ", "7:a\0", "7", "a", "7|a", "7:a:", "*", "7:?", "%"]
        .into_iter()
        .map(|id| bench.key(id))
        .collect();
    others.push(key(&bench.scope.beside("x"), "7:a"));
    // The same bytes, split at another place.
    let longer = ackonce::Scope::new(format!("{}7", bench.scope.name()));
    others.extend(longer.ok().map(|scope| key(&scope, ":a")));
    for other in others {
        assert_eq!(bench.b.get(&other).await, None, "{other:?}");
        assert_eq!(bench.b.forget(&other).await, AdminOutcome::Nothing, "{other:?}");
        assert_eq!(bench.b.redrive(&other).await, AdminOutcome::Nothing, "{other:?}");
    }
    assert_eq!(
        same(bench.b.record(&lease.key).await),
        before,
        "a record whose lookalikes were forgotten and redriven"
    );
    // And the other way round.
    let neighbour = key(&bench.scope.beside("x"), "7:a");
    let held = bench.a.acquire(&super::bench::request(neighbour.clone())).await;
    assert_eq!(bench.b.forget(&lease.key).await, AdminOutcome::Yes, "the record itself is forgotten");
    assert_eq!(bench.b.record(&neighbour).await.state, State::Claimed, "the neighbour of a forgotten record");
    bench.a.confirm(&held, release()).await;
}

/// A record without its age.
pub(super) fn same(record: Record) -> Record {
    Record { age: Duration::ZERO, ..record }
}
