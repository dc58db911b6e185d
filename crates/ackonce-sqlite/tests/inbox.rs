//! The inbox: effect and record together, or neither.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Settle, Settled, Settlement};
use ackonce::{CancellationToken, Class, Context, Failure, Handler, Item};
use ackonce_sqlite::{InboxTx, SqliteStore};
use bytes::Bytes;
use common::{HOUR, Place, acquire, complete, is_done, item, place, request};

fn with_effects(place: &Place) -> SqliteStore {
    place.connection().execute_batch("CREATE TABLE effect (id TEXT NOT NULL, n INTEGER NOT NULL)").unwrap();
    place.store()
}

fn effects(place: &Place) -> Vec<String> {
    let conn = place.connection();
    let mut statement = conn.prepare("SELECT id FROM effect ORDER BY id").unwrap();
    let ids = statement.query_map([], |r| r.get(0)).unwrap();
    ids.map(Result::unwrap).collect()
}

fn insert(tx: &InboxTx<'_>, id: &str) -> rusqlite::Result<usize> {
    tx.execute("INSERT INTO effect VALUES (?1, 1)", [id])
}

/// The handler most tests run: one row per message.
#[allow(clippy::ptr_arg)]
fn note(tx: &InboxTx<'_>, _: &Context, id: &String) -> Result<(), Failure> {
    insert(tx, id)?;
    Ok(())
}

async fn claimed(store: &SqliteStore, ids: &[&str]) -> Vec<Item<String>> {
    let mut items = Vec::new();
    for id in ids {
        items.push(item(&acquire(store, request(id)).await, (*id).to_owned()));
    }
    items
}

#[tokio::test]
async fn effects_and_records_commit_together() {
    let place = place();
    let store = with_effects(&place);
    let inbox = store.inbox(note);
    assert_eq!(Handler::<String>::class(&inbox), Class::Inbox);
    let answers = inbox.handle(claimed(&store, &["a", "b", "c"]).await).await;
    assert_eq!(answers.len(), 3);
    answers.into_iter().for_each(|answer| drop(answer.unwrap()));
    assert_eq!(effects(&place), ["a", "b", "c"]);
    for id in ["a", "b", "c"] {
        assert!(is_done(&store, id).await);
    }
}

#[tokio::test]
async fn a_failed_message_is_undone_alone() {
    let place = place();
    let store = with_effects(&place);
    let inbox = store.inbox(|tx: &InboxTx<'_>, cx: &Context, id: &String| {
        insert(tx, id)?;
        match id.as_str() {
            "b" => Err(Failure::permanent("no")),
            "c" => Err("again".into()),
            _ => note(tx, cx, id),
        }
    });
    let answers = inbox.handle(claimed(&store, &["a", "b", "c", "d"]).await).await;
    assert!(
        matches!(&answers[..], [Ok(_), Err(Failure::Permanent(_)), Err(Failure::Retry(_)), Ok(_)]),
        "{answers:?}"
    );
    assert_eq!(effects(&place), ["a", "a", "d", "d"]);
    assert!(matches!(store.claim_one(request("b")).await.unwrap(), Claimed::Busy { .. }), "still claimed");
}

#[tokio::test]
async fn what_the_handler_returns_is_kept_for_its_window() {
    let place = place();
    let store = with_effects(&place);
    let reply =
        |_: &InboxTx<'_>, _: &Context, id: &String| Ok::<_, Failure>(Bytes::from(id.clone().into_bytes()));
    let inbox = store.inbox(reply).with_window(Duration::ZERO);
    drop(inbox.handle(claimed(&store, &["short"]).await).await.pop().unwrap().unwrap());
    assert_eq!(acquire(&store, request("short")).await.attempt, 1, "the window has ended");
    let inbox = store.inbox(reply);
    drop(inbox.handle(claimed(&store, &["long"]).await).await.pop().unwrap().unwrap());
    let Claimed::Done(record) = store.claim_one(request("long")).await.unwrap() else { panic!() };
    assert_eq!(record.outcome.as_deref(), Some(&b"long"[..]));
}

#[tokio::test]
async fn a_claim_that_was_taken_over_is_fenced_and_nothing_runs() {
    let place = place();
    let store = with_effects(&place);
    let runs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    let inbox = store.inbox(move |tx: &InboxTx<'_>, cx: &Context, id: &String| {
        count.fetch_add(1, Ordering::SeqCst);
        note(tx, cx, id)
    });
    let stalled = acquire(&store, ClaimRequest { lease: Duration::ZERO, ..request("a") }).await;
    let next = acquire(&store, request("a")).await;
    let buried = acquire(&store, request("b")).await;
    let bury = Settle::Bury { window: HOUR, reason: "no".into() };
    assert_eq!(store.settle_one(Settlement::new(&buried, bury)).await.unwrap(), Settled::Yes);
    let items = vec![item(&stalled, "a".to_owned()), item(&buried, "b".to_owned())];
    for answer in inbox.handle(items).await {
        assert!(matches!(answer, Err(Failure::Fenced)), "{answer:?}");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    drop(inbox.handle(vec![item(&next, "a".to_owned())]).await.pop().unwrap().unwrap());
    assert_eq!(effects(&place), ["a"]);
}

#[tokio::test]
async fn a_run_repeated_after_its_commit_does_not_double() {
    let place = place();
    let store = with_effects(&place);
    let inbox = store.inbox(note);
    let lease = acquire(&store, request("a")).await;
    for _ in 0..2 {
        drop(inbox.handle(vec![item(&lease, "a".to_owned())]).await.pop().unwrap().unwrap());
    }
    assert_eq!(effects(&place), ["a"]);
}

#[tokio::test]
async fn a_late_run_completes_as_long_as_nobody_claimed_since() {
    let place = place();
    let store = with_effects(&place);
    let late = acquire(&store, ClaimRequest { lease: Duration::ZERO, ..request("a") }).await;
    drop(store.inbox(note).handle(vec![item(&late, "a".to_owned())]).await.pop().unwrap().unwrap());
    assert!(is_done(&store, "a").await);
}

#[tokio::test]
async fn the_setup_serves_handlers_and_cannot_undo_the_stores_settings() {
    let place = place();
    with_effects(&place);
    let setup = |conn: &rusqlite::Connection| {
        conn.pragma_update(None, "synchronous", "OFF")?;
        conn.execute_batch("CREATE TEMP TABLE mine (x); INSERT INTO mine VALUES ('temporary')")
    };
    let store = place.config().with_setup(setup).open().unwrap();
    let inbox = store.inbox(|tx: &InboxTx<'_>, _: &Context, _: &String| {
        assert_eq!(tx.query_row("PRAGMA synchronous", [], |r| r.get::<_, i64>(0))?, 2);
        tx.execute("INSERT INTO effect SELECT x, 1 FROM mine", [])?;
        Ok::<_, Failure>(())
    });
    drop(inbox.handle(claimed(&store, &["a"]).await).await.pop().unwrap().unwrap());
    assert_eq!(effects(&place), ["temporary"]);
}

#[tokio::test]
async fn a_cancelled_message_does_not_run() {
    let place = place();
    let store = with_effects(&place);
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let cx = Context::new(acquire(&store, request("a")).await, cancelled);
    let answers = store.inbox(note).handle(vec![Item { cx, message: "a".to_owned() }]).await;
    assert!(matches!(&answers[..], [Err(Failure::Infrastructure(_))]), "{answers:?}");
    assert!(effects(&place).is_empty());
}

#[tokio::test]
async fn inbox_claims_and_settlements_share_a_group() {
    let place = place();
    let store = with_effects(&place);
    let items = claimed(&store, &["a", "b"]).await;
    let other = acquire(&store, request("other")).await;
    let blocker = place.connection();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let inbox = store.inbox(note);
    let mut all = Box::pin(async {
        futures_util::join!(
            inbox.handle(items),
            complete(&store, &other, HOUR),
            store.claim_one(request("new"))
        )
    });
    assert!(futures_util::poll!(&mut all).is_pending());
    blocker.execute_batch("ROLLBACK").unwrap();
    let (answers, (), claim) = all.await;
    assert!(answers.iter().all(Result::is_ok) && matches!(claim.unwrap(), Claimed::Acquired(_)));
    assert_eq!(effects(&place), ["a", "b"]);
}

struct Id(String);

impl ackonce::adapter::Delivery for Id {
    type Message = String;
    fn message(&self) -> String {
        self.0.clone()
    }
}

/// An application's error, by its type or by a function: the effect is undone either way, and the message buried at once.
#[tokio::test]
async fn an_error_that_says_what_it_is_is_sorted_in_an_inbox() {
    let declined = |tx: &InboxTx<'_>, id: &str| -> Result<(), std::fmt::Error> {
        insert(tx, id).map_err(|_| std::fmt::Error)?;
        Err(std::fmt::Error)
    };
    let place = place();
    let store = with_effects(&place);
    let scope = ackonce::Scope::new("sorted").unwrap();
    let settings =
        ackonce::Settings::default().with_failure_kind(|_: &std::fmt::Error| ackonce::FailureKind::Permanent);
    let by_type = store.inbox(move |tx: &InboxTx<'_>, _: &Context, id: &String| {
        declined(tx, id)?;
        Ok(())
    });
    let by_function = store.inbox(move |tx: &InboxTx<'_>, _: &Context, id: &String| {
        declined(tx, id).map_err(Failure::permanent)
    });
    let place_of = || Arc::new(ackonce::adapter::RecordOnly);
    let kept = Arc::new(store.clone());
    let first = ackonce::Runner::with(kept.clone(), &scope, by_type, settings, place_of()).unwrap();
    let second =
        ackonce::Runner::with(kept, &scope, by_function, ackonce::Settings::default(), place_of()).unwrap();
    let job = |id: &str| ackonce::adapter::Job::new(scope.key(id.to_owned()).unwrap(), Id(id.into()));
    assert_eq!(first.process(job("a")).await.unwrap().how(), ackonce::adapter::SettledAs::Buried);
    assert_eq!(second.process(job("b")).await.unwrap().how(), ackonce::adapter::SettledAs::Buried);
    assert_eq!((first.counts().run, second.counts().run), (1, 1));
    assert!(effects(&place).is_empty());
}
