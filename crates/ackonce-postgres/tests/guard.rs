//! The guard in a transaction of the user's own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::time::Duration;

use ackonce::ErrorKind;
use ackonce::store::{Claimed, DeduplicatorExt, Fingerprint, Repeat, State, Token};
use ackonce_postgres::tokio_postgres::error::SqlState;
use ackonce_postgres::tokio_postgres::types::ToSql;
use ackonce_postgres::tokio_postgres::{IsolationLevel, Row};
use ackonce_postgres::{Entered, GuardOptions, Names, PostgresGuard, enter_sql, finish_sql};
use bytes::Bytes;
use common::{HOUR, Place, acquire, complete, is_done, key, place, request};

#[tokio::test]
async fn the_store_and_the_guard_see_each_other() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let mut client = place.client().await;
    client.batch_execute("CREATE TABLE effect (id text)").await.unwrap();
    for round in 0..2 {
        let tx = client.transaction().await.unwrap();
        match PostgresGuard::enter_in(&place.schema, &tx, &key("a"), &GuardOptions::default()).await.unwrap()
        {
            Entered::First(guard) if round == 0 => {
                assert_eq!(guard.lease().attempt, 1);
                tx.execute("INSERT INTO effect VALUES ('a')", &[]).await.unwrap();
                guard.with_outcome(Bytes::from_static(b"out")).finish(&tx).await.unwrap();
                tx.commit().await.unwrap();
            }
            Entered::Duplicate(record) if round == 1 => assert_eq!(record.state, State::Done),
            other => panic!("{other:?}"),
        }
    }
    let Claimed::Done(record) = store.claim_one(request("a")).await.unwrap() else { panic!() };
    assert_eq!(record.outcome.as_deref(), Some(&b"out"[..]));

    let lease = acquire(&store, request("held")).await;
    let tx = client.transaction().await.unwrap();
    let entry =
        PostgresGuard::enter_in(&place.schema, &tx, &key("held"), &GuardOptions::default()).await.unwrap();
    assert!(matches!(entry, Entered::Busy { free_in } if free_in <= HOUR), "{entry:?}");
    tx.rollback().await.unwrap();
    complete(&store, &lease).await;
}

#[tokio::test]
async fn another_payload_under_the_same_id_is_noticed() {
    let Some(place) = place() else { return };
    place.store().await;
    let mut client = place.client().await;
    let tx = client.transaction().await.unwrap();
    let print = |payload: &[u8]| GuardOptions::default().with_fingerprint(Fingerprint::of(payload));
    let Entered::First(guard) =
        PostgresGuard::enter_in(&place.schema, &tx, &key("a"), &print(b"1")).await.unwrap()
    else {
        panic!()
    };
    guard.finish(&tx).await.unwrap();
    assert!(matches!(
        PostgresGuard::enter_in(&place.schema, &tx, &key("a"), &print(b"1")).await.unwrap(),
        Entered::Duplicate(_)
    ));
    assert!(matches!(
        PostgresGuard::enter_in(&place.schema, &tx, &key("a"), &print(b"2")).await.unwrap(),
        Entered::Mismatch(_)
    ));
}

#[tokio::test]
async fn what_is_rolled_back_runs_again() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let mut client = place.client().await;
    let tx = client.transaction().await.unwrap();
    let named = GuardOptions::default().with_names(Names::Keep).with_window(Duration::from_secs(9));
    let Entered::First(guard) = PostgresGuard::enter_in(&place.schema, &tx, &key("a"), &named).await.unwrap()
    else {
        panic!()
    };
    guard.finish(&tx).await.unwrap();
    drop(tx);
    assert!(!is_done(&store, "a").await);
    assert_eq!(place.value("SELECT count(*) FROM name").await, 0);
}

#[tokio::test]
async fn finish_fails_once_the_claim_is_gone() {
    let Some(place) = place() else { return };
    place.store().await;
    let mut client = place.client().await;
    for spoil in [
        "ROLLBACK TO earlier",
        "UPDATE record SET fence = fence + 1",
        "UPDATE record SET token = NULL, tally = NULL",
    ] {
        let tx = client.transaction().await.unwrap();
        tx.batch_execute("SAVEPOINT earlier").await.unwrap();
        let Entered::First(guard) =
            PostgresGuard::enter_in(&place.schema, &tx, &key("a"), &GuardOptions::default()).await.unwrap()
        else {
            panic!()
        };
        tx.batch_execute(spoil).await.unwrap();
        let error = guard.finish(&tx).await.unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Protocol, Repeat::Safe), "{spoil}: {error}");
    }
    // A swallowed error: a COMMIT here would answer success.
    let tx = client.transaction().await.unwrap();
    let Entered::First(guard) =
        PostgresGuard::enter_in(&place.schema, &tx, &key("a"), &GuardOptions::default()).await.unwrap()
    else {
        panic!()
    };
    tx.batch_execute("SELECT 1/0").await.unwrap_err();
    guard.finish(&tx).await.unwrap_err();
    tx.commit().await.unwrap();
    assert_eq!(place.value("SELECT count(*) FROM record").await, 0, "and nothing of it is there");
}

/// The second waits for the first, in every isolation level; in the stricter ones it is told to start over.
#[tokio::test]
async fn two_at_once_do_not_both_get_in() {
    let Some(place) = place() else { return };
    place.store().await;
    let (mut one, mut two) = (place.client().await, place.client().await);
    let levels =
        [IsolationLevel::ReadCommitted, IsolationLevel::RepeatableRead, IsolationLevel::Serializable];
    for (n, level) in levels.into_iter().enumerate() {
        let message = key(n);
        let tx = one.transaction().await.unwrap();
        let Entered::First(guard) =
            PostgresGuard::enter_in(&place.schema, &tx, &message, &GuardOptions::default()).await.unwrap()
        else {
            panic!()
        };
        let late = two.build_transaction().isolation_level(level).start().await.unwrap();
        late.execute("SELECT 1 FROM record", &[]).await.unwrap();
        let options = GuardOptions::default();
        let second = async { PostgresGuard::enter_in(&place.schema, &late, &message, &options).await };
        let first = async {
            until_somebody_waits(&place).await;
            guard.finish(&tx).await.unwrap();
            tx.commit().await.unwrap();
        };
        match futures_util::future::join(second, first).await.0 {
            Ok(Entered::Duplicate(_)) => assert_eq!(n, 0),
            Err(error) => assert_eq!((n > 0, error.repeat()), (true, Repeat::Safe), "{error}"),
            other => panic!("{level:?}: {other:?}"),
        }
    }
}

async fn until_somebody_waits(place: &Place) {
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'";
    while place.value(waiting).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn missing_tables_are_named() {
    let Some(place) = place() else { return };
    let mut client = place.client().await;
    let tx = client.transaction().await.unwrap();
    let error =
        PostgresGuard::enter_in(&place.schema, &tx, &key("a"), &GuardOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(ackonce::chain(&error).to_string().contains("PostgresConfig::create_schema"), "{error}");
    drop(tx);
    place.store().await;
    client.batch_execute("UPDATE meta SET version = 1000").await.unwrap();
    let tx = client.transaction().await.unwrap();
    let error =
        PostgresGuard::enter_in(&place.schema, &tx, &key("a"), &GuardOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerSchema, "{error}");
}

/// The statements as another driver sends them: with parameters of plain types, by name of the columns.
#[tokio::test]
async fn the_statements_serve_other_drivers() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let mut client = place.client().await;
    let (enter, finish) = (enter_sql(&place.schema), finish_sql(&place.schema));
    let (digest, window) = (key("a").digest().to_vec(), 60_000_000_i64);
    let none: Option<Vec<u8>> = None;
    let (scope, id) = (Some("orders/charge"), Some(b"a".to_vec()));
    for (round, expected) in ["first", "duplicate", "mismatch"].into_iter().enumerate() {
        let token = Token::random().0.to_vec();
        let print = Some(Fingerprint::of(if round == 2 { b"other" } else { b"one" }).0.to_vec());
        let tx = client.transaction().await.unwrap();
        let row: Row = tx.query_one(&enter, &[&digest, &token, &window, &print, &scope, &id]).await.unwrap();
        assert_eq!(row.get::<_, &str>("answer"), expected);
        if round == 0 {
            let fence: i64 = row.get("fence");
            let kept = Some(b"out".to_vec());
            assert!(
                tx.query_opt(&finish, &[&digest, &token, &(fence - 1), &window, &kept])
                    .await
                    .unwrap()
                    .is_none()
            );
            tx.query_one(&finish, &[&digest, &token, &fence, &window, &kept]).await.unwrap();
            tx.commit().await.unwrap();
        } else {
            assert_eq!(row.get::<_, &[u8]>("detail"), b"out");
        }
    }
    assert!(is_done(&store, "a").await);
    let lease = acquire(&store, request("held")).await;
    let digest = lease.key.digest().to_vec();
    let params: [&(dyn ToSql + Sync); 6] =
        [&digest, &Token::random().0.to_vec(), &window, &none, &None::<&str>, &none];
    let row = client.query_one(&enter, &params).await.unwrap();
    assert_eq!(row.get::<_, &str>("answer"), "busy");
    client.batch_execute("DROP TABLE meta").await.unwrap();
    let error = client.query(&enter, &params).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE));
}
