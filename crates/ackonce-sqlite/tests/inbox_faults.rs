//! Handlers that swallow, panic, roll back, reach for the transaction or break a promise at the commit.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use ackonce::store::{Claimed, DeduplicatorExt, Repeat};
use ackonce::{Answer, Context, ErrorKind, Failure, Handler, Item};
use ackonce_sqlite::{InboxTx, SqliteStore};
use common::{Place, acquire, is_done, item, place, request};
use futures_util::future::join;

const TABLES: &str = "CREATE TABLE effect (id TEXT NOT NULL UNIQUE);
    CREATE TABLE owner (id TEXT NOT NULL PRIMARY KEY);
    CREATE TABLE pet (owner TEXT REFERENCES owner DEFERRABLE INITIALLY DEFERRED);";

fn with_tables(place: &Place) -> SqliteStore {
    place.connection().execute_batch(TABLES).unwrap();
    place.store()
}

fn count(place: &Place, table: &str) -> i64 {
    place.connection().query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).unwrap()
}

async fn run<F>(store: &SqliteStore, id: &str, f: F) -> Answer
where
    F: Fn(&InboxTx<'_>) -> Result<(), Failure> + Send + Sync + 'static,
{
    let lease = acquire(store, request(id)).await;
    let inbox = store.inbox(move |tx: &InboxTx<'_>, _: &Context, (): &()| f(tx));
    inbox.handle(vec![item(&lease, ())]).await.pop().unwrap()
}

fn insert(tx: &InboxTx<'_>, id: &str) -> Result<(), Failure> {
    tx.execute("INSERT INTO effect VALUES (?1)", [id])?;
    Ok(())
}

fn retried(answer: Answer) -> String {
    match answer {
        Err(Failure::Retry(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_swallowed_statement_is_retried_and_not_acknowledged() {
    let place = place();
    let store = with_tables(&place);
    drop(run(&store, "first", |tx| insert(tx, "x")).await.unwrap());
    let swallows: [fn(&InboxTx<'_>); 7] = [
        |tx| drop(insert(tx, "x")),
        |tx| drop(tx.execute("INSERT INTO missing VALUES (1)", [])),
        |tx| drop(tx.execute_batch("INSERT INTO effect VALUES ('y'); INSERT INTO effect VALUES ('x')")),
        |tx| drop(tx.query_row("INSERT INTO effect VALUES ('x') RETURNING id", [], |_| Ok(()))),
        |tx| drop(tx.prepare("nonsense")),
        |tx| drop(tx.prepare("INSERT INTO effect VALUES (?1)").unwrap().execute(["x"])),
        |tx| {
            let mut statement = tx.prepare("INSERT INTO effect VALUES ('x') RETURNING id").unwrap();
            let rows = statement.query_map([], |_| Ok(())).unwrap();
            assert_eq!(rows.filter_map(Result::ok).count(), 0);
        },
    ];
    for (n, swallow) in swallows.into_iter().enumerate() {
        let text = retried(
            run(&store, &format!("swallow {n}"), move |tx| {
                insert(tx, "before")?;
                swallow(tx);
                insert(tx, "after")?;
                Ok(())
            })
            .await,
        );
        assert!(text.contains("a statement failed and the handler answered success"), "{n}: {text}");
        assert_eq!(count(&place, "effect"), 1, "{n}: undone");
        assert!(!is_done(&store, format!("swallow {n}")).await);
    }
}

#[tokio::test]
async fn a_failure_that_is_dealt_with_is_the_handlers_own() {
    let place = place();
    let store = with_tables(&place);
    drop(run(&store, "first", |tx| insert(tx, "x")).await.unwrap());
    let answer = run(&store, "second", |tx| {
        let known = tx.unwatched().execute("INSERT INTO effect VALUES ('x')", []).is_err();
        assert!(known);
        let none = tx.query_row("SELECT id FROM effect WHERE id = 'z'", [], |_| Ok(()));
        assert_eq!(none, Err(rusqlite::Error::QueryReturnedNoRows));
        insert(tx, "y")?;
        Ok(())
    });
    drop(answer.await.unwrap());
    assert_eq!(count(&place, "effect"), 2);
}

#[tokio::test]
async fn a_panic_is_rolled_back_and_the_writer_lives_on() {
    let place = place();
    let store = with_tables(&place);
    let text = retried(
        run(&store, "a", |tx| {
            insert(tx, "a")?;
            panic!("out of {}", "tune")
        })
        .await,
    );
    assert_eq!(text, "the handler panicked: out of tune");
    assert_eq!(count(&place, "effect"), 0);
    drop(run(&store, "b", |tx| insert(tx, "b")).await.unwrap());
}

#[tokio::test]
async fn a_statement_that_rolls_the_group_back_is_noticed_whatever_the_handler_says() {
    let place = place();
    let store = with_tables(&place);
    drop(run(&store, "first", |tx| insert(tx, "x")).await.unwrap());
    for swallow in [true, false] {
        let lease = acquire(&store, request(format!("culprit {swallow}"))).await;
        let blocker = place.connection();
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let inbox = store.inbox(move |tx: &InboxTx<'_>, _: &Context, (): &()| {
            insert(tx, "before")?;
            let rolled_back = tx.unwatched().execute("INSERT OR ROLLBACK INTO effect VALUES ('x')", []);
            if swallow {
                // With no transaction around it, this one would stay.
                let alone = tx.unwatched().execute("INSERT INTO effect VALUES ('after')", []);
                assert!(alone.is_err());
                return Ok(());
            }
            rolled_back?;
            Ok(())
        });
        let innocent = format!("innocent {swallow}");
        let mut both =
            Box::pin(join(store.claim_one(request(&innocent)), inbox.handle(vec![item(&lease, ())])));
        assert!(futures_util::poll!(&mut both).is_pending());
        blocker.execute_batch("ROLLBACK").unwrap();
        let (claim, mut answers) = both.await;
        let error = claim.unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Safe), "{error}");
        retried(answers.pop().unwrap());
        assert_eq!(acquire(&store, request(&innocent)).await.attempt, 1, "its claim was undone");
        assert_eq!(count(&place, "effect"), 1, "nothing was committed in between");
    }
}

#[tokio::test]
async fn a_handler_cannot_end_the_transaction_or_touch_the_records() {
    let place = place();
    let store = with_tables(&place);
    let attempts = [
        "COMMIT",
        "ROLLBACK",
        "END",
        "RELEASE ackonce_item",
        "ROLLBACK TO Ackonce_Item",
        "SAVEPOINT ackonce_item",
        "ATTACH ':memory:' AS other",
        "DELETE FROM ackonce_claims",
        "UPDATE ackonce_generations SET sealed = 0",
        "UPDATE ackonce_meta SET value = 9",
        "DROP TABLE Ackonce_claims",
        "DELETE FROM ackonce_audit",
        "CREATE TEMP TRIGGER t AFTER UPDATE ON main.ackonce_claims BEGIN SELECT 1; END",
        "PRAGMA synchronous = OFF",
        "PRAGMA writable_schema = ON",
    ];
    for sql in attempts {
        let text = retried(
            run(&store, sql, move |tx| {
                insert(tx, "a")?;
                tx.unwatched().execute_batch("SAVEPOINT own; ROLLBACK TO own; RELEASE own")?;
                Ok(tx.unwatched().execute_batch(sql)?)
            })
            .await,
        );
        assert!(text.contains("not authorized"), "{sql}: {text}");
        assert_eq!(count(&place, "effect"), 0, "{sql}");
    }
    drop(run(&store, "after all", |tx| insert(tx, "a")).await.unwrap());
}

#[tokio::test]
async fn a_constraint_checked_at_the_commit_charges_its_own_message_only() {
    let place = place();
    let store = with_tables(&place);
    let mut items: Vec<Item<bool>> = Vec::new();
    for id in ["a", "b", "orphan", "c"] {
        items.push(item(&acquire(&store, request(id)).await, id == "orphan"));
    }
    let inbox = store.inbox(|tx: &InboxTx<'_>, cx: &Context, orphan: &bool| {
        let id = cx.key().id();
        if !orphan {
            return insert(tx, std::str::from_utf8(id)?);
        }
        tx.execute("INSERT INTO pet VALUES ('nobody')", [])?;
        Ok(())
    });
    let blocker = place.connection();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut first = Box::pin(inbox.handle(items.clone()));
    assert!(futures_util::poll!(&mut first).is_pending());
    blocker.execute_batch("ROLLBACK").unwrap();
    for answer in first.await {
        let Err(Failure::Store(error)) = answer else { panic!("{answer:?}") };
        assert_eq!(error.repeat(), Repeat::Safe, "{error}");
    }
    assert_eq!((count(&place, "effect"), count(&place, "pet")), (0, 0));
    // Asked again, each runs alone, and it shows which one it was; it does not disturb the others any more.
    for _ in 0..2 {
        let answers = inbox.handle(items.clone()).await;
        assert!(matches!(&answers[..], [Ok(_), Ok(_), Err(Failure::Retry(_)), Ok(_)]), "{answers:?}");
        assert_eq!((count(&place, "effect"), count(&place, "pet")), (3, 0));
    }
}

#[tokio::test]
async fn a_full_file_is_no_fault_of_the_message() {
    let place = place();
    place.connection().execute_batch(TABLES).unwrap();
    let store = place.config().with_max_bytes(256 << 10).open().unwrap();
    for swallow in [false, true] {
        let answer = run(&store, format!("big {swallow}").as_str(), move |tx| {
            let written = tx.execute("INSERT INTO effect VALUES (hex(zeroblob(1000000)))", []);
            if !swallow {
                // However the handler wraps it.
                written.map_err(std::io::Error::other)?;
            }
            Ok(())
        })
        .await;
        let Err(Failure::Store(error)) = answer else { panic!("{answer:?}") };
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Full, Repeat::Safe), "{error}");
    }
    assert!(matches!(store.claim_one(request("small")).await.unwrap(), Claimed::Acquired(_)));
}
