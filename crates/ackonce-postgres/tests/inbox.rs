//! The inbox: effect and record together, or neither.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Settle, Settled, Settlement};
use ackonce::{CancellationToken, Class, Context, Failure, Handler, Item};
use ackonce_postgres::deadpool_postgres;
use ackonce_postgres::tokio_postgres::{NoTls, Transaction};
use ackonce_postgres::{InboxSettings, PostgresStore, Prepare};
use bytes::Bytes;
use common::{HOUR, Place, acquire, is_done, item, place, request};
use futures_util::future::BoxFuture;

async fn with_effects(place: &Place) -> PostgresStore {
    let store = place.store().await;
    place.client().await.batch_execute("CREATE TABLE effect (id text NOT NULL)").await.unwrap();
    store
}

async fn effects(place: &Place) -> Vec<String> {
    let rows = place.client().await.query("SELECT id FROM effect ORDER BY id", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The handler most tests run: one row per message.
fn note(
    place: &Place,
) -> impl for<'a> Fn(&'a Transaction<'a>, Context, String) -> BoxFuture<'a, Result<(), Failure>> + use<> {
    let insert = place.text("INSERT INTO effect VALUES ($1)");
    move |tx, _, id| {
        let insert = insert.clone();
        Box::pin(async move {
            tx.execute(&insert, &[&id]).await?;
            Ok(())
        })
    }
}

async fn claimed(store: &PostgresStore, ids: &[&str]) -> Vec<Item<String>> {
    let mut items = Vec::new();
    for id in ids {
        items.push(item(&acquire(store, request(id)).await, (*id).to_owned()));
    }
    items
}

#[tokio::test]
async fn effects_and_records_commit_together() {
    let Some(place) = place() else { return };
    let store = with_effects(&place).await;
    for (prepare, ids) in [(Prepare::Cached, ["a", "b", "c"]), (Prepare::Never, ["d", "e", "f"])] {
        let store = place.config().with_prepare(prepare).connect().await.unwrap();
        let inbox = store.inbox(note(&place));
        assert_eq!(Handler::<String>::class(&inbox), Class::Inbox);
        let answers = inbox.handle(claimed(&store, &ids).await).await;
        assert_eq!(answers.len(), 3);
        answers.into_iter().for_each(|answer| drop(answer.unwrap()));
    }
    assert_eq!(effects(&place).await, ["a", "b", "c", "d", "e", "f"]);
    for id in ["a", "b", "c", "d", "e", "f"] {
        assert!(is_done(&store, id).await);
    }
}

#[tokio::test]
async fn a_failed_message_is_undone_alone() {
    let Some(place) = place() else { return };
    let store = with_effects(&place).await;
    let insert = place.text("INSERT INTO effect VALUES ($1)");
    let inbox = store.inbox(move |tx: &Transaction<'_>, _, id: String| {
        let insert = insert.clone();
        Box::pin(async move {
            tx.execute(&insert, &[&id]).await?;
            match id.as_str() {
                "b" => Err(Failure::permanent("no")),
                "c" => Err("again".into()),
                "e" => panic!("out of {}", "tune"),
                _ => Ok(()),
            }
        })
    });
    let answers = inbox.handle(claimed(&store, &["a", "b", "c", "d", "e", "f"]).await).await;
    let [Ok(_), Err(Failure::Permanent(_)), Err(Failure::Retry(_)), Ok(_), Err(Failure::Retry(panic)), Ok(_)] =
        &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!(panic.to_string(), "the handler panicked: out of tune");
    assert_eq!(effects(&place).await, ["a", "d", "f"]);
    assert!(matches!(store.claim_one(request("b")).await.unwrap(), Claimed::Busy { .. }), "still claimed");
}

#[tokio::test]
async fn what_the_handler_returns_is_kept_for_its_window() {
    let Some(place) = place() else { return };
    let store = with_effects(&place).await;
    fn reply<'a>(_: &'a Transaction<'a>, _: Context, id: String) -> BoxFuture<'a, Result<Bytes, Failure>> {
        Box::pin(async move { Ok(Bytes::from(id)) })
    }
    let inbox = store.inbox(reply).with_settings(InboxSettings::default().with_window(Duration::ZERO));
    drop(inbox.handle(claimed(&store, &["short"]).await).await.pop().unwrap().unwrap());
    assert_eq!(acquire(&store, request("short")).await.attempt, 1, "the window has ended");
    let mut runners = claimed(&store, &["runner's"]).await.pop().unwrap();
    runners.cx = runners.cx.with_window(Duration::ZERO);
    drop(store.inbox(reply).handle(vec![runners]).await.pop().unwrap().unwrap());
    assert_eq!(acquire(&store, request("runner's")).await.attempt, 1, "the runner's window has ended");
    let inbox = store.inbox(reply);
    drop(inbox.handle(claimed(&store, &["long"]).await).await.pop().unwrap().unwrap());
    let Claimed::Done(record) = store.claim_one(request("long")).await.unwrap() else { panic!() };
    assert_eq!(record.outcome.as_deref(), Some(&b"long"[..]));
}

#[tokio::test]
async fn a_claim_that_was_taken_over_is_fenced_and_nothing_runs() {
    let Some(place) = place() else { return };
    let store = with_effects(&place).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let (count, note_it) = (Arc::clone(&runs), note(&place));
    let inbox = store.inbox(move |tx, cx, id: String| {
        count.fetch_add(1, Ordering::SeqCst);
        note_it(tx, cx, id)
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
    assert_eq!(effects(&place).await, ["a"]);
}

#[tokio::test]
async fn a_claim_that_is_taken_over_while_the_handler_runs_is_rolled_back() {
    let Some(place) = place() else { return };
    let store = with_effects(&place).await;
    let (rival, note_it) = (store.clone(), Arc::new(note(&place)));
    let inbox = store.inbox(move |tx: &Transaction<'_>, cx, id: String| {
        let (rival, note_it) = (rival.clone(), Arc::clone(&note_it));
        Box::pin(async move {
            note_it(tx, cx, id.clone()).await?;
            if id.starts_with("stalled") {
                // Its lease has ended, and nothing of it is locked.
                acquire(&rival, request(&id)).await;
            }
            Ok(())
        })
    });
    let stalled = acquire(&store, ClaimRequest { lease: Duration::ZERO, ..request("stalled") }).await;
    let answers = inbox.handle(vec![item(&stalled, "stalled".to_owned())]).await;
    assert!(matches!(&answers[..], [Err(Failure::Fenced)]), "alone: {answers:?}");

    let stalled = acquire(&store, ClaimRequest { lease: Duration::ZERO, ..request("stalled too") }).await;
    let mut items = claimed(&store, &["a", "b"]).await;
    items.insert(1, item(&stalled, "stalled too".to_owned()));
    let answers = inbox.handle(items).await;
    let [Err(Failure::Store(error)), Err(Failure::Fenced), Err(Failure::Store(_))] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(error.repeat(), ackonce::store::Repeat::Safe, "the neighbours run again: {error}");
    assert!(effects(&place).await.is_empty());
    assert!(!is_done(&store, "a").await);
}

#[tokio::test]
async fn a_run_repeated_after_its_commit_does_not_double() {
    let Some(place) = place() else { return };
    let store = with_effects(&place).await;
    let inbox = store.inbox(note(&place));
    let lease = acquire(&store, request("a")).await;
    for _ in 0..2 {
        drop(inbox.handle(vec![item(&lease, "a".to_owned())]).await.pop().unwrap().unwrap());
    }
    assert_eq!(effects(&place).await, ["a"]);
}

#[tokio::test]
async fn a_late_run_completes_as_long_as_nobody_claimed_since() {
    let Some(place) = place() else { return };
    let store = with_effects(&place).await;
    let late = acquire(&store, ClaimRequest { lease: Duration::ZERO, ..request("a") }).await;
    drop(store.inbox(note(&place)).handle(vec![item(&late, "a".to_owned())]).await.pop().unwrap().unwrap());
    assert!(is_done(&store, "a").await);
}

/// A batch of many times 64 subtransactions, and one with the same key twice.
#[tokio::test]
async fn large_batches_are_several_transactions() {
    let Some(place) = place() else { return };
    let store = with_effects(&place).await;
    let ids: Vec<_> = (0..150).map(|n| format!("{n:03}")).collect();
    let mut items = claimed(&store, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    items.insert(7, items[6].clone());
    let answers = store.inbox(note(&place)).handle(items).await;
    assert_eq!(answers.len(), 151);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(effects(&place).await, ids);
    assert!(place.value("SELECT count(DISTINCT xmin::text) FROM record").await > 1);
}

#[tokio::test]
async fn a_cancelled_message_does_not_run() {
    let Some(place) = place() else { return };
    let store = with_effects(&place).await;
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let cx = Context::new(acquire(&store, request("a")).await, cancelled);
    let answers = store.inbox(note(&place)).handle(vec![Item { cx, message: "a".to_owned() }]).await;
    assert!(matches!(&answers[..], [Err(Failure::Infrastructure(_))]), "{answers:?}");
    assert!(effects(&place).await.is_empty());
}

/// While a handler runs, the heartbeat renews the lease of its message: nothing of it is locked.
#[tokio::test]
async fn a_lease_is_renewed_while_its_handler_runs() {
    let Some(place) = place() else { return };
    let store = with_effects(&place).await;
    let (heart, note_it) = (store.clone(), Arc::new(note(&place)));
    let inbox = store.inbox(move |tx: &Transaction<'_>, cx: Context, id: String| {
        let (heart, note_it) = (heart.clone(), Arc::clone(&note_it));
        Box::pin(async move {
            note_it(tx, cx.clone(), id).await?;
            let beat = Settlement::new(cx.lease(), Settle::Extend { lease: HOUR, window: HOUR });
            assert_eq!(heart.settle_one(beat).await?, Settled::Yes);
            Ok(())
        })
    });
    for ids in [&["alone"][..], &["a", "b", "c"]] {
        let answers = inbox.handle(claimed(&store, ids).await).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
}

/// A pool of the user's own serves as well.
#[tokio::test]
async fn a_pool_of_the_users_own() {
    let Some(place) = place() else { return };
    let store = with_effects(&place).await;
    let mut config = deadpool_postgres::Config::new();
    config.url = Some(place.url.clone());
    let runtime = deadpool_postgres::Runtime::Tokio1;
    let pool = config.create_pool(Some(runtime), NoTls).unwrap();
    let inbox = store.inbox(note(&place)).with_pool(pool.clone());
    let answers = inbox.handle(claimed(&store, &["a", "b"]).await).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(effects(&place).await, ["a", "b"]);
    assert_eq!(pool.status().available, 1, "given back");
}

struct Id(String);

impl ackonce::adapter::Delivery for Id {
    type Message = String;
    fn message(&self) -> String {
        self.0.clone()
    }
}

/// An application's error by its type: the effect is undone, and the message buried at once.
#[tokio::test]
async fn an_error_that_says_what_it_is_is_sorted_in_an_inbox() {
    let Some(place) = place() else { return };
    let store = with_effects(&place).await;
    let insert = place.text("INSERT INTO effect VALUES ($1)");
    let inbox = store.inbox(move |tx: &Transaction<'_>, _, id: String| {
        let insert = insert.clone();
        Box::pin(async move {
            tx.execute(&insert, &[&id]).await?;
            Err(std::fmt::Error)?;
            Ok(())
        })
    });
    let scope = ackonce::Scope::new("sorted").unwrap();
    let settings =
        ackonce::Settings::default().with_failure_kind(|_: &std::fmt::Error| ackonce::FailureKind::Permanent);
    let kept = Arc::new(store.clone());
    let runner =
        ackonce::Runner::with(kept, &scope, inbox, settings, Arc::new(ackonce::adapter::RecordOnly)).unwrap();
    let job = ackonce::adapter::Job::new(scope.key("a").unwrap(), Id("a".into()));
    assert_eq!(runner.process(job).await.unwrap().how(), ackonce::adapter::SettledAs::Buried);
    assert_eq!(runner.counts().run, 1);
    assert!(effects(&place).await.is_empty());
}
