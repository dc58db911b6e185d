//! A change by an operator is on the disk with its audit row, or not at all.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use ackonce::Deduplicator;
use ackonce::store::Settled;
use ackonce::store::{
    AdminOutcome, ClaimRequest, Filter, Fingerprint, Inspect, Note, RecordTarget, Repeat, Settle, Settlement,
    State,
};
use ackonce::{ErrorKind, Key};
use ackonce_sqlite::{Names, SqliteStore};
use common::{HOUR, Place, TestClock, acquire, complete, is_done, key, place, request};

fn note() -> Note {
    Note { actor: "ops: Zoë".into(), reason: "it's \"fixed\"; --".into() }
}

/// The rows of the trail: operation, scope, message ID, actor, reason, state before.
type Trail = Vec<(String, Option<String>, Option<Vec<u8>>, String, String, String)>;

fn trail(place: &Place, key: &Key) -> Trail {
    let conn = place.connection();
    let mut rows = conn
        .prepare(
            "SELECT operation, scope, id, actor, reason, before FROM ackonce_audit WHERE (id = ?1 OR id IS NULL) \
             AND at BETWEEN (unixepoch() - 60) * 1000000 AND (unixepoch() + 60) * 1000000 ORDER BY rowid",
        )
        .unwrap();
    let row = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?));
    rows.query_map([&key.id()[..]], row).unwrap().map(Result::unwrap).collect()
}

fn entry(operation: &str, id: &str, before: &str) -> Trail {
    let Note { actor, reason } = note();
    vec![(operation.into(), Some("orders/charge".into()), Some(id.into()), actor, reason, before.into())]
}

async fn finish(store: &SqliteStore, id: &str, action: Settle) {
    let lease = acquire(store, request(id)).await;
    assert_eq!(store.settle(&[Settlement::new(&lease, action)]).await.unwrap(), [Settled::Yes]);
}

#[tokio::test]
async fn each_change_leaves_a_row_that_outlives_the_process() {
    let place = place();
    let store = place.store();
    finish(&store, "done", Settle::Complete { window: HOUR, outcome: None }).await;
    finish(&store, "buried", Settle::Bury { window: HOUR, reason: "no use".into() }).await;
    acquire(&store, request("held")).await;
    assert_eq!(store.forget(RecordTarget::Key(&key("done")), &note()).await.unwrap(), AdminOutcome::Yes);
    assert_eq!(store.redrive(RecordTarget::Key(&key("buried")), &note()).await.unwrap(), AdminOutcome::Yes);
    assert_eq!(
        store.redrive(RecordTarget::Key(&key("buried")), &note()).await.unwrap(),
        AdminOutcome::Nothing
    );
    assert_eq!(store.forget(RecordTarget::Key(&key("held")), &note()).await.unwrap(), AdminOutcome::InFlight);
    assert_eq!(
        store.forget(RecordTarget::Key(&key("unknown")), &note()).await.unwrap(),
        AdminOutcome::Nothing
    );
    drop(store);
    assert_eq!(trail(&place, &key("done")), entry("forget", "done", "done"));
    assert_eq!(trail(&place, &key("buried")), entry("redrive", "buried", "buried"), "once");
    assert_eq!(trail(&place, &key("held")), [], "what changed nothing is no change");
    assert_eq!(trail(&place, &key("unknown")), []);
    // And a sweep removes none of it.
    assert_eq!(place.store().sweep().await.unwrap(), 1);
    assert_eq!(trail(&place, &key("done")).len(), 1);
}

#[tokio::test]
async fn ids_that_stay_out_of_the_records_stay_out_of_the_trail() {
    let place = place();
    let store = place.config().with_names(Names::Omit).open().unwrap();
    finish(&store, "x", Settle::Complete { window: HOUR, outcome: None }).await;
    assert_eq!(store.forget(RecordTarget::Key(&key("x")), &note()).await.unwrap(), AdminOutcome::Yes);
    let trail = trail(&place, &key("x"));
    assert_eq!((trail.len(), &trail[0].1, &trail[0].2), (1, &None, &None));
}

#[tokio::test]
async fn no_trail_no_change() {
    let place = place();
    let store = place.store();
    finish(&store, "x", Settle::Complete { window: HOUR, outcome: None }).await;
    place.connection().execute_batch("ALTER TABLE ackonce_audit RENAME TO away").unwrap();
    for _ in 0..2 {
        let error = store.forget(RecordTarget::Key(&key("x")), &note()).await.unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Config, Repeat::Never), "{error}");
        assert!(is_done(&store, "x").await);
    }
    place.connection().execute_batch("ALTER TABLE away RENAME TO ackonce_audit").unwrap();
    assert_eq!(store.forget(RecordTarget::Key(&key("x")), &note()).await.unwrap(), AdminOutcome::Yes);
}

#[tokio::test]
async fn nothing_of_the_message_is_left_in_a_forgotten_record() {
    let place = place();
    let store = place.config().with_names(Names::Keep).open().unwrap();
    let fingerprint = Some(Fingerprint::of(b"payload"));
    let lease = acquire(&store, ClaimRequest { fingerprint, ..request("x") }).await;
    let outcome = Some("secret".into());
    store.settle(&[Settlement::new(&lease, Settle::Complete { window: HOUR, outcome })]).await.unwrap();
    assert_eq!(store.forget(RecordTarget::Key(&key("x")), &note()).await.unwrap(), AdminOutcome::Yes);
    let left: (Option<Vec<u8>>, Option<Vec<u8>>, Option<String>) = place
        .connection()
        .query_row("SELECT fingerprint, outcome, reason FROM ackonce_claims", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })
        .unwrap();
    assert_eq!((left, place.rows()), ((None, None, None), 1), "and it is nowhere else");
    // A new record of it is as complete as the first one was.
    let lease = acquire(&store, request("x")).await;
    complete(&store, &lease, HOUR).await;
    let page = store
        .list(&ackonce::store::Query {
            filter: Filter { state: Some(State::Done), ..Filter::default() },
            limit: 1,
            after: None,
        })
        .await
        .unwrap();
    assert_eq!(page.entries[0].id.as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_keep_a_claim_from_the_operator() {
    let place = place();
    let clock = TestClock::new();
    let store = clock.of(place.config()).open().unwrap();
    acquire(&store, request("x")).await;
    clock.set_back(365 * 24 * HOUR);
    assert_eq!(store.forget(RecordTarget::Key(&key("x")), &note()).await.unwrap(), AdminOutcome::InFlight);
    let ahead = "SELECT count(*) FROM ackonce_claims WHERE free_at > ?1";
    let latest = i64::try_from(clock.micros()).unwrap() + 7_200_000_000;
    let ahead: i64 = place.connection().query_row(ahead, [latest], |r| r.get(0)).unwrap();
    assert_eq!(ahead, 0, "the lease ends when it would have, although nobody but the operator asks");
    // Ended, and forgotten; the clock has yet to pass its fence.
    place.connection().execute("UPDATE ackonce_claims SET free_at = 1", []).unwrap();
    let fence = store.look(&key("x")).await.unwrap().unwrap().record.fence;
    assert_eq!(store.forget(RecordTarget::Key(&key("x")), &note()).await.unwrap(), AdminOutcome::Yes);
    assert_eq!(store.sweep().await.unwrap(), 0, "what the next fence must exceed");
    assert!(acquire(&store, request("x")).await.fence > fence);
}

/// The log of this process; shared by the tests of this file.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_change_is_logged_once_it_is_committed() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let place = place();
    let store = place.store();
    finish(&store, "logged\n", Settle::Complete { window: HOUR, outcome: None }).await;
    let lines = || {
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(r"logged\n")).map(str::to_owned).collect::<Vec<_>>()
    };
    place.connection().execute_batch("ALTER TABLE ackonce_audit RENAME TO away").unwrap();
    store.redrive(RecordTarget::Key(&key("logged\n")), &note()).await.unwrap_err();
    assert_eq!(lines(), [""; 0], "nothing was changed");
    place.connection().execute_batch("ALTER TABLE away RENAME TO ackonce_audit").unwrap();
    store.redrive(RecordTarget::Key(&key("logged\n")), &note()).await.unwrap();
    let lines = lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["WARN", "decision=\"redrive\"", "before=\"done\"", "Zoë"] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
}
