//! Transactions that do not end as the inbox ends them.

use std::sync::Arc;

use ackonce::store::Repeat;
use ackonce::{Failure, Handler};
use ackonce_tests::drivers::{Act, Driver, Ends, Pool};
use tokio::sync::Notify;

use crate::place::Place;

pub(crate) async fn an_ended_transaction_is_no_success(place: Place) {
    let inbox = place.inbox().await;
    for (n, ended) in ["ROLLBACK", "COMMIT", "ROLLBACK; BEGIN", "COMMIT; BEGIN"].into_iter().enumerate() {
        let ids = [format!("alone {n}"), format!("one {n}"), format!("other {n}")];
        let mut items = Vec::new();
        for id in &ids {
            let acts = ["SELECT 1", ended, "SELECT 1"].map(|text| place.swallow(text));
            items.push(place.item(id, acts.to_vec()).await);
        }
        items[2].message = vec![place.swallow("SELECT 1")];
        let group = inbox.handle(items.split_off(1)).await;
        for answer in group.iter().chain(&inbox.handle(items).await) {
            assert!(matches!(answer, Err(Failure::Unknown(_))), "{ended}: {answer:?}");
        }
        for id in &ids {
            assert!(!place.is_done(id).await, "{ended}: {id}");
        }
    }
    // The connections are as good as new.
    for n in 0..8 {
        let id = format!("next {n}");
        let next = inbox.handle(vec![place.item(&id, vec![place.insert(&id)]).await]).await;
        assert!(next[0].is_ok(), "{next:?}");
    }
    assert_eq!(place.count("effect").await, 8);
}

/// The client's count of transactions takes the COMMIT for the end of the inner one. With tokio-postgres a savepoint is a statement
/// like any other, and the COMMIT ends it.
pub(crate) async fn a_nested_transaction_left_open_commits_nothing(place: Place) {
    if place.driver == Driver::Postgres {
        return;
    }
    let inbox = place.inbox_with(&Pool { connections: 16, ..Pool::new(&place.url) }).await;
    let leaves = |id: &str| {
        vec![Act::Nested(place.sql(&format!("INSERT INTO {{s}}.effect VALUES ('{id}')")), Ends::LeftOpen)]
    };
    let alone = inbox.handle(vec![place.item("alone", leaves("alone")).await]).await;
    let [Err(Failure::Retry(error))] = &alone[..] else { panic!("{alone:?}") };
    assert!(error.to_string().contains("committing: the handler left a nested transaction open"), "{error}");
    let items = vec![
        place.item("a", vec![place.insert("a")]).await,
        place.item("b", leaves("b")).await,
        place.item("c", vec![place.insert("c")]).await,
    ];
    for answer in inbox.handle(items.clone()).await {
        let Err(Failure::Store(error)) = answer else { panic!("{answer:?}") };
        assert_eq!(error.repeat(), Repeat::Safe, "{error}");
    }
    // One that fails, too, is undone as any other; its connection is not used again.
    let fails = leaves("fails").into_iter().chain([Act::Fail]).collect();
    let fails = inbox.handle(vec![place.item("fails", fails).await]).await;
    assert!(matches!(&fails[..], [Err(Failure::Retry(_))]), "{fails:?}");
    assert_eq!(place.count("effect").await, 0);
    // Asked again, each runs alone, and it shows which one it was.
    let again = inbox.handle(items).await;
    assert!(matches!(&again[..], [Ok(_), Err(Failure::Retry(_)), Ok(_)]), "{again:?}");
    assert_eq!(place.effects().await, ["a", "c"]);
    assert!(!place.is_done("alone").await && !place.is_done("b").await);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE '%ackonce%'";
    let open: i64 = place.client().await.query_one(open, &[]).await.unwrap().get(0);
    assert_eq!(open, 0, "no pool has a connection with a transaction in it");
}

pub(crate) async fn a_cancelled_run_leaves_no_transaction_behind(place: Place) {
    let inbox = place.inbox().await;
    let inserted = Arc::new(Notify::new());
    let notify = Arc::clone(&inserted);
    let waits = Act::wait(move || {
        notify.notify_one();
        std::future::pending()
    });
    let item = place.item("a", vec![place.insert("x"), waits]).await;
    tokio::select! {
        answers = inbox.handle(vec![item]) => panic!("{answers:?}"),
        () = inserted.notified() => {}
    }
    // It is not blocked by the same row of the cancelled one.
    let again = inbox.handle(vec![place.item("b", vec![place.insert("x")]).await]).await;
    assert!(again[0].is_ok(), "{again:?}");
    assert_eq!(place.effects().await, ["x"]);
    assert!(!place.is_done("a").await);
}
