//! sqlx in the user's own transaction, as the README and the example have it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;
#[allow(dead_code, reason = "its main function")]
#[path = "../examples/sqlx.rs"]
mod example;

use ackonce::store::{Claimed, DeduplicatorExt};
use ackonce_postgres::{enter_sql, finish_sql};
use common::{Place, is_done, key, place, request};
use sqlx::{AssertSqlSafe, PgPool, Row};

/// The recipe of the README; whether the effect was committed.
async fn process(pool: &PgPool, place: &Place, id: &str, window: i64) -> &'static str {
    let (key, token) = (key(id), ackonce::store::Token::random());
    let mut tx = pool.begin().await.unwrap();
    let row = sqlx::query(AssertSqlSafe(enter_sql(&place.schema)))
        .bind(&key.digest()[..])
        .bind(&token.0[..])
        .bind(window)
        .bind(None::<&[u8]>)
        .bind(None::<&str>)
        .bind(None::<&[u8]>)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    match row.get("answer") {
        "first" => {}
        "busy" => return "busy",
        _ => return "duplicate",
    }
    sqlx::query(AssertSqlSafe(place.text("INSERT INTO effect VALUES ($1)")))
        .bind(id)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query(AssertSqlSafe(finish_sql(&place.schema)))
        .bind(&key.digest()[..])
        .bind(&token.0[..])
        .bind(row.get::<i64, _>("fence"))
        .bind(window)
        .bind(None::<&[u8]>)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    "first"
}

#[tokio::test]
async fn a_transaction_of_sqlx_enters_and_finishes_a_message() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    place.client().await.batch_execute("CREATE TABLE effect (id text)").await.unwrap();
    let pool = PgPool::connect(&place.url).await.unwrap();
    for round in 0..8 {
        let id = format!("m {}", round / 2);
        let expected = if round % 2 == 0 { "first" } else { "duplicate" };
        assert_eq!(process(&pool, &place, &id, 3_600_000_000).await, expected);
        assert!(is_done(&store, &id).await);
    }
    let Claimed::Acquired(_) = store.claim_one(request("held")).await.unwrap() else { panic!() };
    assert_eq!(process(&pool, &place, "held", 3_600_000_000).await, "busy");
    assert_eq!(place.value("SELECT count(*) FROM effect").await, 4);
}

/// It checks its own balances.
#[tokio::test]
async fn the_example_books_each_payment_once() {
    let Some(url) = common::server() else { return };
    example::run(&url).await.unwrap();
}
