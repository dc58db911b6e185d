//! Records are read back as they were written, by this process and the next.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, RecordOnly, SettledAs};
use ackonce::store::{
    AdminOutcome, Attempt, ClaimRequest, Claimed, DeduplicatorExt, Filter, Fingerprint, Inspect, Note, Query,
    RecordTarget, Repeat, Settle, Settled, Settlement, State, Token,
};
use ackonce::{Context, Deduplicator, ErrorKind, Failure, Previous, Runner, Settings};
use ackonce_sqlite::Names;
use bytes::Bytes;
use common::{HOUR, TestClock, acquire, complete, is_done, key, place, request};

#[tokio::test]
async fn every_field_outlives_the_process() {
    let place = place();
    let fingerprint = Fingerprint::of(b"payload");
    let with_print = |id| ClaimRequest { fingerprint: Some(fingerprint), ..request(id) };
    let store = place.store();
    let done = acquire(&store, with_print("done")).await;
    let buried = acquire(&store, with_print("buried")).await;
    let released = acquire(&store, with_print("released")).await;
    let held = with_print("held");
    let holding = acquire(&store, held.clone()).await;
    let settlements = [
        Settlement::new(&done, Settle::Complete { window: HOUR, outcome: Some(Bytes::from_static(b"a\0b")) }),
        Settlement::new(&buried, Settle::Bury { window: HOUR, reason: "bad\0 bytes — ✗".into() }),
        Settlement::new(
            &released,
            Settle::Release { attempt: Attempt::Counts, window: HOUR, not_before: Duration::ZERO },
        ),
    ];
    assert_eq!(store.settle(&settlements).await.unwrap(), [Settled::Yes; 3]);
    drop(store);

    let store = place.store();
    let Claimed::Done(record) = store.claim_one(with_print("done")).await.unwrap() else { panic!() };
    assert_eq!((record.state, record.fence, record.attempt), (State::Done, done.fence, 1));
    assert_eq!(record.fingerprint.unwrap().0[..8], fingerprint.0[..8], "as much of it as is kept");
    assert_eq!(record.reason, None);
    assert_eq!(record.outcome.as_deref(), Some(&b"a\0b"[..]));
    assert!(record.age < HOUR, "{:?}", record.age);
    let Claimed::Done(record) = store.claim_one(with_print("buried")).await.unwrap() else { panic!() };
    assert_eq!((record.state, record.reason.as_deref()), (State::Buried, Some("bad\0 bytes — ✗")));
    let again = acquire(&store, with_print("released")).await;
    assert_eq!((again.attempt, again.previous), (2, Previous::Released));
    assert!(again.fence > released.fence);
    let other = ClaimRequest { fingerprint: Some(Fingerprint::of(b"other")), ..request("done") };
    assert!(matches!(store.claim_one(other).await.unwrap(), Claimed::Mismatch(_)));
    assert!(matches!(store.claim_one(with_print("held")).await.unwrap(), Claimed::Busy { .. }));
    assert_eq!(acquire(&store, held).await, holding, "the same claim is answered as before");
    complete(&store, &holding, HOUR).await;
    // So is a settlement that is repeated across the restart, because its reply was lost.
    assert_eq!(store.settle(&settlements[..2]).await.unwrap(), [Settled::Yes; 2]);
}

/// The back-off is in the file: another process does not claim a message that this one has just released.
#[tokio::test]
async fn a_back_off_outlives_the_process_and_ends_with_a_redrive() {
    let place = place();
    let clock = TestClock::new();
    let store = || clock.of(place.config()).open().unwrap();
    for id in ["waits", "redriven"] {
        let lease = acquire(&store(), request(id)).await;
        let release = Settle::Release { attempt: Attempt::Counts, window: HOUR, not_before: 2 * HOUR };
        assert_eq!(store().settle_one(Settlement::new(&lease, release)).await.unwrap(), Settled::Yes);
    }
    clock.advance(HOUR);
    let store = store();
    let Claimed::Busy { free_in } = store.claim_one(request("waits")).await.unwrap() else { panic!() };
    assert_eq!(free_in, HOUR);
    assert_eq!(store.sweep().await.unwrap(), 0, "its window begins when the wait is over");
    let note = Note { actor: "ada".into(), reason: "mended".into() };
    assert_eq!(store.redrive(RecordTarget::Key(&key("redriven")), &note).await.unwrap(), AdminOutcome::Yes);
    assert_eq!(acquire(&store, request("redriven")).await.attempt, 2);
    clock.advance(HOUR);
    assert_eq!(acquire(&store, request("waits")).await.attempt, 2);
}

#[tokio::test]
async fn a_batch_is_answered_in_order_as_if_one_after_another() {
    let place = place();
    let store = place.store();
    let (first, rival) = (request("a"), request("a"));
    let batch = [request("z"), first.clone(), rival, first, request("b")];
    let answers = store.claim(&batch).await.unwrap();
    let acquired: Vec<_> = answers.iter().map(|a| matches!(a, Claimed::Acquired(_))).collect();
    assert_eq!(acquired, [true, true, false, true, true]);
    assert_eq!(answers[1], answers[3]);
    let Claimed::Acquired(lease) = &answers[1] else { panic!() };
    let settle = |action| Settlement::new(lease, action);
    let complete = Settle::Complete { window: HOUR, outcome: None };
    let release = Settle::Release { attempt: Attempt::Counts, window: HOUR, not_before: Duration::ZERO };
    let batch = [settle(complete.clone()), settle(release), settle(complete)];
    assert_eq!(store.settle(&batch).await.unwrap(), [Settled::Yes, Settled::Lost, Settled::Yes]);
    assert!(is_done(&store, "a").await);
    assert!(store.claim(&[]).await.unwrap().is_empty());
    assert!(store.settle(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_operator_can_look_a_record_up_unless_told_otherwise() {
    let place = place();
    let names = |id: &str| -> (Option<String>, Option<Vec<u8>>) {
        let sql = "SELECT scope, id FROM ackonce_claims WHERE key = ?1";
        place.connection().query_row(sql, [place.record_key(id)], |r| Ok((r.get(0)?, r.get(1)?))).unwrap()
    };
    acquire(&place.store(), request("kept")).await;
    assert_eq!(names("kept"), (Some("orders/charge".into()), Some(b"kept".to_vec())));
    acquire(&place.config().with_names(Names::Omit).open().unwrap(), request("omitted")).await;
    assert_eq!(names("omitted"), (None, None));
}

#[tokio::test]
async fn a_record_that_cannot_be_fails_its_own_batch_only() {
    let place = place();
    let store = place.store();
    for id in ["state", "token", "fence"] {
        acquire(&store, request(id)).await;
    }
    for (id, set) in [("state", "state = 9"), ("fence", "fence = -1"), ("token", "claimed = -7")] {
        let sql = format!("UPDATE ackonce_claims SET {set} WHERE key = ?1");
        assert_eq!(place.connection().execute(&sql, [place.record_key(id)]).unwrap(), 1);
    }
    let bad = [request("fresh"), request("state")];
    let (bad, fence, token, good) = futures_util::join!(
        store.claim(&bad),
        store.claim_one(request("fence")),
        store.claim_one(request("token")),
        store.claim_one(request("good"))
    );
    for error in [bad.unwrap_err(), fence.unwrap_err(), token.unwrap_err()] {
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Invalid, Repeat::Never), "{error}");
    }
    assert!(matches!(good.unwrap(), Claimed::Acquired(_)));
    // Nothing of the failed batch was written.
    assert_eq!(acquire(&store, request("fresh")).await.attempt, 1);
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_lengthen_a_lease() {
    let place = place();
    let clock = TestClock::new();
    let store = clock.of(place.config()).open().unwrap();
    let minute = Duration::from_secs(60);
    let held = acquire(&store, ClaimRequest { lease: minute, ..request("held") }).await;
    let done = acquire(&store, request("done")).await;
    complete(&store, &done, HOUR).await;
    // Both were written a year ahead of now.
    clock.set_back(365 * 24 * HOUR);
    let busy = store.claim_one(request("held")).await.unwrap();
    assert!(matches!(busy, Claimed::Busy { free_in } if free_in <= minute), "{busy:?}");
    let Claimed::Done(record) = store.claim_one(request("done")).await.unwrap() else { panic!() };
    assert!(record.age < minute);
    // Moved for good: a record that was a year ahead ends with its window.
    let listed =
        store.list(&Query { filter: Filter::default(), limit: 9, after: None }).await.unwrap().entries;
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|e| e.expires_in <= HOUR + minute && e.free_in <= minute), "{listed:?}");
    complete(&store, &held, HOUR).await;
}

#[tokio::test]
async fn a_lease_that_ended_is_taken_over_and_fences_the_first() {
    let place = place();
    let store = place.store();
    let first = acquire(&store, ClaimRequest { lease: Duration::ZERO, ..request("x") }).await;
    let second = acquire(&store, request("x")).await;
    assert_eq!((second.attempt, second.previous), (2, Previous::Vanished));
    let done = Settle::Complete { window: HOUR, outcome: None };
    assert_eq!(store.settle_one(Settlement::new(&first, done.clone())).await.unwrap(), Settled::Lost);
    let forged = Settlement { token: Token::random(), ..Settlement::new(&second, done) };
    assert_eq!(store.settle_one(forged).await.unwrap(), Settled::Lost);
}

#[tokio::test]
async fn an_outcome_over_the_limit_is_refused_before_it_is_sent() {
    let place = place();
    let store = place.store();
    let lease = acquire(&store, request("x")).await;
    let outcome = Some(Bytes::from(vec![0; ackonce_sqlite::MAX_VALUE_LEN + 1]));
    let error = store
        .settle_one(Settlement::new(&lease, Settle::Complete { window: HOUR, outcome }))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    complete(&store, &lease, HOUR).await;
}

struct Number(u32);

impl Delivery for Number {
    type Message = u32;
    fn message(&self) -> u32 {
        self.0
    }
}

/// Neither its batch nor its consumer ends by it, and the renewal of others goes on.
#[tokio::test]
async fn a_record_that_cannot_be_read_costs_its_own_message() {
    let place = place();
    let store = place.store();
    let good = acquire(&store, request("good")).await;
    let bad = acquire(&store, request(17)).await;
    let sql = "UPDATE ackonce_claims SET state = 9 WHERE key = ?1";
    assert_eq!(place.connection().execute(sql, [place.record_key(17)]).unwrap(), 1);
    let extend = Settle::Extend { lease: HOUR, window: HOUR };
    let both = [&bad, &good].map(|lease| Settlement::new(lease, extend.clone()));
    assert_eq!(store.settle(&both).await.unwrap(), [Settled::Lost, Settled::Yes]);
    let handler = |_: Context, _: u32| async { Ok::<_, Failure>(()) };
    let (shared, scope) = (Arc::new(store.clone()), key(17).scope().clone());
    let runner = Runner::with(shared, &scope, handler, Settings::default(), Arc::new(RecordOnly)).unwrap();
    let jobs = (0..40_u32).map(|n| runner.process(Job::new(key(n), Number(n))));
    for (n, receipt) in futures_util::future::join_all(jobs).await.into_iter().enumerate() {
        let how = if n == 17 { SettledAs::Buried } else { SettledAs::Run };
        assert_eq!(receipt.unwrap().how(), how, "{n}");
    }
}
