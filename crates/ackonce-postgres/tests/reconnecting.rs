//! A new connection may lead to another server, or to the same one set up otherwise: it is checked as the first one was.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use ackonce::store::{AdminOutcome, DeduplicatorExt, Filter, Inspect, Note, RecordTarget, Repeat, Settle};
use ackonce::{Context, Deduplicator, ErrorKind, Failure, Handler};
use ackonce_postgres::tokio_postgres::Transaction;
use ackonce_postgres::{Names, OnUnsafe, PostgresStore};
use common::own::Own;
use common::{HOUR, Place, acquire, connect, item, key, place, request};

/// Ends the store's connections, as a restart or a failover would.
async fn cut(place: &Place) {
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ackonce'";
    connect(&place.url).await.query(end, &[]).await.unwrap();
}

/// The next error that says more than that the connection is gone.
async fn next_error(store: &PostgresStore) -> ackonce::Error {
    loop {
        match store.claim_one(request("x")).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => return error,
            Ok(answer) => panic!("{answer:?}"),
        }
    }
}

#[tokio::test]
async fn settings_that_lose_records_are_refused_on_a_new_connection() {
    let Some(own) = Own::start() else { return };
    let place = own.place("reconnecting");
    let store = place.store().await;
    let weak = place.config().with_unsafe(OnUnsafe::Downgrade).connect().await.unwrap();
    assert!(weak.describe().weaknesses.is_empty());
    for setting in ["fsync", "full_page_writes"] {
        own.set(setting, "off").await;
        cut(&place).await;
        let error = next_error(&store).await;
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Config, Repeat::Never), "{error}");
        assert!(error.to_string().contains(&format!("{setting}=off")), "{error}");
        while weak.claim_one(request("y")).await.is_err() {}
        assert_eq!(weak.describe().weaknesses.len(), 1, "{:?}", weak.describe());

        own.set(setting, "on").await;
        // The refused connection was not kept.
        acquire(&store, request(setting)).await;
    }
}

/// Its connections may come from a pool that others have used before: each transaction asks.
#[tokio::test]
async fn an_inbox_commits_nothing_to_a_server_that_loses_records() {
    let Some(own) = Own::start() else { return };
    let place = own.place("reconnecting");
    let store = place.store().await;
    place.client().await.batch_execute("CREATE TABLE effect (n int8)").await.unwrap();
    let insert = place.text("INSERT INTO effect VALUES (1)");
    let inbox = store.inbox(move |tx: &Transaction<'_>, _: Context, (): ()| {
        let insert = insert.clone();
        Box::pin(async move { Ok::<_, Failure>(tx.batch_execute(&insert).await?) })
    });
    for (setting, expected) in [("on", 1), ("off", 1), ("on", 2)] {
        own.set("fsync", setting).await;
        let lease = acquire(&store, request(format!("{setting} {expected}"))).await;
        let answers = inbox.handle(vec![item(&lease, ())]).await;
        match setting {
            "on" => assert!(answers[0].is_ok(), "{answers:?}"),
            _ => {
                let Err(Failure::Store(error)) = &answers[0] else { panic!("{answers:?}") };
                assert!(
                    error.kind() == ErrorKind::Config && error.to_string().contains("fsync=off"),
                    "{error}"
                );
            }
        }
        assert_eq!(place.value("SELECT count(*) FROM effect").await, expected);
    }
}

/// Of another encoding than the store's own texts: refused at start, not at the first burial.
#[tokio::test]
async fn a_database_that_cannot_hold_a_reason_is_refused_by_name() {
    let Some(place) = place() else { return };
    let client = connect(&place.url).await;
    for (n, encoding) in ["LATIN1", "EUC_JP", "SQL_ASCII", "UTF8"].into_iter().enumerate() {
        let name = format!("test_encoding_{}_{n}", std::process::id());
        let create = format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        client.batch_execute(&create).await.unwrap();
        let url = format!("{}/{name}", place.url.rsplit_once('/').unwrap().0);
        let place = Place { url, ..place.clone() };
        let config = place.config().with_names(Names::Keep);
        if n < 2 {
            let error = config.with_unsafe(OnUnsafe::Downgrade).connect().await.unwrap_err();
            assert_eq!((error.kind(), error.repeat()), (ErrorKind::Config, Repeat::Never), "{error}");
            let text = error.to_string();
            assert!(text.contains(encoding) && text.contains("server_encoding"), "{text}");
        } else {
            let store = config.connect().await.unwrap();
            let (scope, reason) = ("заказы/größe", "причина: größe 💥");
            let id = ackonce::Scope::new(scope).unwrap().key("ключ").unwrap();
            let lease =
                acquire(&store, ackonce::store::ClaimRequest { key: id.clone(), ..request("x") }).await;
            let bury = Settle::Bury { window: HOUR, reason: reason.into() };
            store.settle_one(ackonce::store::Settlement::new(&lease, bury)).await.unwrap();
            let page = store
                .list(&ackonce::store::Query { filter: Filter::default(), after: None, limit: 3 })
                .await
                .unwrap();
            assert_eq!(page.entries[0].scope.as_deref(), Some(scope));
            assert_eq!(page.entries[0].record.reason.as_deref(), Some(reason));
            let note = Note { actor: "Зоя".into(), reason: reason.into() };
            assert_eq!(store.redrive(RecordTarget::Key(&id), &note).await.unwrap(), AdminOutcome::Yes);
            acquire(&store, request(key("z").id().len())).await;
        }
    }
}
