//! Handlers that swallow, panic, end the transaction, are cancelled or break a promise at the commit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::time::Duration;

use ackonce::store::Repeat;
use ackonce::{Answer, Context, ErrorKind, Failure, Handler, Item};
use ackonce_postgres::tokio_postgres::Transaction;
use ackonce_postgres::{InboxSettings, PostgresStore};
use common::{Place, acquire, is_done, item, place, request};
use futures_util::future::BoxFuture;

const TABLES: &str = "CREATE TABLE effect (id text NOT NULL UNIQUE);
    CREATE TABLE owner (id text NOT NULL PRIMARY KEY);
    CREATE TABLE pet (owner text REFERENCES owner DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE slow (n int4); INSERT INTO slow VALUES (0)";

async fn with_tables(place: &Place) -> PostgresStore {
    let store = place.store().await;
    place.client().await.batch_execute(TABLES).await.unwrap();
    store
}

async fn count(place: &Place, table: &str) -> i64 {
    place.value(&format!("SELECT count(*) FROM {table}")).await
}

/// Runs statements one after another, each error passed over if told so, and answers success.
fn statements(
    place: &Place,
    swallow: bool,
) -> impl for<'a> Fn(&'a Transaction<'a>, Context, Vec<&'static str>) -> BoxFuture<'a, Result<(), Failure>> + use<>
{
    let place = place.clone();
    move |tx, _, texts| {
        let place = place.clone();
        Box::pin(async move {
            for text in texts {
                let ran = tx.batch_execute(&place.text(text)).await;
                if !swallow {
                    ran?;
                }
            }
            Ok(())
        })
    }
}

fn reason(answer: &Answer) -> String {
    match answer {
        Err(Failure::Retry(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

const X: &str = "INSERT INTO effect VALUES ('x')";
const Y: &str = "INSERT INTO effect VALUES ('y')";

#[tokio::test]
async fn a_swallowed_statement_is_retried_and_not_acknowledged() {
    let Some(place) = place() else { return };
    let store = with_tables(&place).await;
    place.client().await.batch_execute(X).await.unwrap();
    let inbox = store.inbox(statements(&place, true));
    for (n, swallowed) in
        [X, "INSERT INTO missing VALUES (1)", "nonsense", "SELECT 1/0"].into_iter().enumerate()
    {
        let ids = [format!("alone {n}"), format!("one {n}"), format!("other {n}")];
        let mut items = Vec::new();
        for id in &ids {
            items.push(item(
                &acquire(&store, request(id)).await,
                vec!["INSERT INTO effect VALUES ('before')", swallowed, Y],
            ));
        }
        items[2].message = vec!["SELECT 1"];
        let beside = items[2].clone();
        let mut group = inbox.handle(items.split_off(1)).await;
        let alone = inbox.handle(items).await;
        if let (0, Err(Failure::Store(error))) = (n, &group[1]) {
            // It ran before anybody knew, and runs again; after that such neighbours are waited for.
            assert_eq!(error.repeat(), Repeat::Safe, "{error}");
            group[1] = inbox.handle(vec![beside]).await.remove(0);
        }
        for answer in [&group[0], &alone[0]] {
            let text = reason(answer);
            assert!(
                text.contains("a statement failed and the handler answered success"),
                "{swallowed}: {text}"
            );
        }
        assert!(group[1].is_ok(), "the neighbour is not touched: {:?}", group[1]);
        assert_eq!(count(&place, "effect").await, 1, "{swallowed}: undone");
        assert!(!is_done(&store, &ids[0]).await && !is_done(&store, &ids[1]).await);
        assert!(is_done(&store, &ids[2]).await);
    }
}

/// The statement that shows it is the next message's savepoint, or the last one's release.
#[tokio::test]
async fn a_swallowed_statement_is_undone_wherever_it_is_in_its_group() {
    let Some(place) = place() else { return };
    let store = with_tables(&place).await;
    for culprit in 0..4 {
        let inbox = store.inbox(statements(&place, true));
        // The second time nobody runs beside it.
        for (round, place_of) in [("first", culprit), ("second", 2)] {
            let ids: Vec<_> = (0..4).map(|n| format!("{culprit} {round} {n}")).collect();
            let mut items = Vec::new();
            for (n, id) in ids.iter().enumerate() {
                let texts = if n == place_of { vec![Y, "SELECT 1/0"] } else { vec!["SELECT 1"] };
                items.push(item(&acquire(&store, request(id)).await, texts));
            }
            let answers = inbox.handle(items).await;
            for (n, answer) in answers.iter().enumerate() {
                match answer {
                    Err(Failure::Retry(_)) => assert_eq!(n, place_of, "{culprit} {round}: {answers:?}"),
                    Err(Failure::Store(e)) => {
                        assert_eq!((n, round), (culprit + 1, "first"), "{answers:?}");
                        assert_eq!(e.repeat(), Repeat::Safe);
                    }
                    other => assert!(other.is_ok() && n != place_of, "{culprit} {round}: {answers:?}"),
                }
                assert_eq!(answer.is_ok(), is_done(&store, &ids[n]).await, "{culprit} {round} {n}");
            }
        }
    }
    assert_eq!(count(&place, "effect").await, 0);
}

#[tokio::test]
async fn a_failure_that_is_dealt_with_is_the_handlers_own() {
    let Some(place) = place() else { return };
    let store = with_tables(&place).await;
    place.client().await.batch_execute(X).await.unwrap();
    let texts = vec!["SAVEPOINT mine", X, "ROLLBACK TO mine", Y];
    let answers = store
        .inbox(statements(&place, true))
        .handle(vec![item(&acquire(&store, request("a")).await, texts)])
        .await;
    assert!(answers[0].is_ok(), "{answers:?}");
    assert_eq!(count(&place, "effect").await, 2);
}

#[tokio::test]
async fn a_transaction_that_the_handler_ended_is_no_success() {
    let Some(place) = place() else { return };
    let store = with_tables(&place).await;
    let inbox = store.inbox(statements(&place, true));
    for (n, ended) in ["ROLLBACK", "COMMIT", "ROLLBACK; BEGIN", "COMMIT; BEGIN"].into_iter().enumerate() {
        let ids = [format!("alone {n}"), format!("one {n}"), format!("other {n}")];
        let mut items = Vec::new();
        for id in &ids {
            items.push(item(&acquire(&store, request(id)).await, vec!["SELECT 1", ended, "SELECT 1"]));
        }
        items[2].message = vec!["SELECT 1"];
        let group = inbox.handle(items.split_off(1)).await;
        for answer in group.iter().chain(&inbox.handle(items).await) {
            assert!(matches!(answer, Err(Failure::Unknown(_))), "{ended}: {answer:?}");
        }
        for id in &ids {
            assert!(!is_done(&store, id).await, "{ended}: {id}");
        }
    }
    // The connection is as good as new.
    let next = inbox.handle(vec![item(&acquire(&store, request("next")).await, vec![X])]).await;
    assert!(next[0].is_ok(), "{next:?}");
}

#[tokio::test]
async fn a_constraint_checked_at_the_commit_charges_its_own_message_only() {
    let Some(place) = place() else { return };
    let store = with_tables(&place).await;
    let inbox = store.inbox(statements(&place, false));
    let mut items: Vec<Item<Vec<&'static str>>> = Vec::new();
    for (id, text) in [
        ("a", "INSERT INTO effect VALUES ('a')"),
        ("b", "INSERT INTO effect VALUES ('b')"),
        ("orphan", "INSERT INTO pet VALUES ('nobody')"),
        ("c", "INSERT INTO effect VALUES ('c')"),
    ] {
        items.push(item(&acquire(&store, request(id)).await, vec![text]));
    }
    for answer in inbox.handle(items.clone()).await {
        let Err(Failure::Store(error)) = answer else { panic!("{answer:?}") };
        assert_eq!(error.repeat(), Repeat::Safe, "{error}");
    }
    assert_eq!((count(&place, "effect").await, count(&place, "pet").await), (0, 0));
    // Asked again, each runs alone, and it shows which one it was; it does not disturb the others any more.
    for _ in 0..2 {
        let answers = inbox.handle(items.clone()).await;
        assert!(matches!(&answers[..], [Ok(_), Ok(_), Err(Failure::Retry(_)), Ok(_)]), "{answers:?}");
        assert_eq!((count(&place, "effect").await, count(&place, "pet").await), (3, 0));
    }
}

#[tokio::test]
async fn trouble_of_the_servers_is_no_fault_of_the_message() {
    let Some(place) = place() else { return };
    let store = with_tables(&place).await;
    let settings = InboxSettings::default().with_lock_timeout(Some(Duration::from_millis(50)));
    let (mut rival, update) = (place.client().await, "UPDATE slow SET n = n + 1");
    let held = rival.transaction().await.unwrap();
    held.execute(update, &[]).await.unwrap();
    let waiting = store.inbox(statements(&place, false)).with_settings(settings);
    let answers = waiting.handle(vec![item(&acquire(&store, request("waits")).await, vec![update])]).await;
    let Err(Failure::Store(error)) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Safe), "{error}");
    held.rollback().await.unwrap();

    // The connection ends, by the server or by the handler, and nothing of it was committed.
    let mut items = Vec::new();
    for id in ["a", "killed", "b"] {
        let kill = if id == "killed" { "SELECT pg_terminate_backend(pg_backend_pid())" } else { "SELECT 1" };
        items.push(item(&acquire(&store, request(id)).await, vec![X, kill, "ROLLBACK TO ackonce_item"]));
        items.last_mut().unwrap().message.truncate(if id == "a" { 1 } else { 2 });
    }
    items[1].message.remove(0);
    for answer in store.inbox(statements(&place, false)).handle(items).await {
        let Err(Failure::Store(error)) = answer else { panic!("{answer:?}") };
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Safe), "{error}");
    }
    assert_eq!(count(&place, "effect").await, 0);
}

/// The server would end its transaction each time, and it would run for ever.
#[tokio::test]
async fn a_handler_that_is_away_for_too_long_is_charged() {
    let Some(place) = place() else { return };
    let store = with_tables(&place).await;
    let (update, idle) = (place.text("UPDATE slow SET n = n + 1"), Duration::from_millis(100));
    let inbox = store
        .inbox(move |tx: &Transaction<'_>, _: Context, away: Duration| {
            let update = update.clone();
            Box::pin(async move {
                tx.batch_execute(&update).await?;
                tokio::time::sleep(away).await;
                Ok::<_, Failure>(tx.batch_execute("SELECT 1").await?)
            })
        })
        .with_settings(InboxSettings::default().with_idle_timeout(Some(idle)));
    let mut items = Vec::new();
    for (id, away) in [("a", Duration::ZERO), ("away", 5 * idle), ("b", Duration::ZERO)] {
        items.push(item(&acquire(&store, request(id)).await, away));
    }
    let alone = inbox.handle(vec![items[1].clone()]).await;
    assert!(matches!(&alone[..], [Err(Failure::Retry(_))]), "{alone:?}");
    let group = inbox.handle(items).await;
    assert!(matches!(&group[1], Err(Failure::Retry(_))), "{group:?}");
    for neighbour in [&group[0], &group[2]] {
        assert!(
            matches!(neighbour, Err(Failure::Store(error)) if error.repeat() == Repeat::Safe),
            "{group:?}"
        );
    }
    assert_eq!(place.value("SELECT n::int8 FROM slow").await, 0);
}

#[tokio::test]
async fn a_cancelled_run_leaves_no_transaction_behind() {
    let Some(place) = place() else { return };
    let store = with_tables(&place).await;
    let inbox =
        store.inbox(statements(&place, false)).with_settings(InboxSettings::default().with_connections(1));
    let sleep = vec![X, "SELECT pg_sleep(3600)"];
    let run = inbox.handle(vec![item(&acquire(&store, request("a")).await, sleep)]);
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)' AND state = 'active'";
    let client = place.client().await;
    let is_sleeping = async |expected: i64| {
        while client.query_one(sleeping, &[]).await.unwrap().get::<_, i64>(0) != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        answers = run => panic!("{answers:?}"),
        () = is_sleeping(1) => {}
    }
    // The run is dropped, its only connection with it.
    is_sleeping(0).await;
    let again = inbox.handle(vec![item(&acquire(&store, request("b")).await, vec![X])]).await;
    assert!(again[0].is_ok(), "not blocked by the same row of the cancelled one: {again:?}");
    assert_eq!(count(&place, "effect").await, 1);
    assert!(!is_done(&store, "a").await);
}
