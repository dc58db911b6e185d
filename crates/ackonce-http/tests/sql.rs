//! Kept answers are plain columns for SQL.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce::Scope;
use ackonce_http::{IdempotencyLayer, Options, Principal, sql};
use ackonce_sqlite::SqliteStore;
use ackonce_sqlite::rusqlite::{Connection, Row};
use axum::{Router, body::Body, routing::post};
use http::{Request, StatusCode};
use tower::ServiceExt;

#[tokio::test]
async fn status_headers_body_created_completed_and_expires_are_columns_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.db");
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    let window = Duration::from_secs(3600);
    let options = Options::default().with_window(window);
    let layer =
        IdempotencyLayer::with(store, &Scope::new("api").unwrap(), Principal::single_tenant(), options)
            .unwrap();
    let handler = post(async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        (StatusCode::CREATED, [("location", "/payments/1"), ("x-many", "a")], &b"a\nb\0\xff"[..])
    });
    let request = Request::post("/payments").header("idempotency-key", "k").body(Body::empty()).unwrap();
    let before = micros();
    Router::new().route("/payments", handler).layer(layer).oneshot(request).await.unwrap();

    let database = Connection::open(&path).unwrap();
    let tables: Vec<String> = database
        .prepare("SELECT name FROM sqlite_schema WHERE name GLOB 'ackonce_full_*' AND type = 'table'")
        .and_then(|mut tables| tables.query_map([], |row| row.get(0))?.collect())
        .unwrap();
    let mut answers = Vec::new();
    for table in tables {
        let query = sql::SQLITE.replace("{table}", &table);
        let read = |row: &Row<'_>| {
            Ok((
                (row.get("status")?, row.get("headers")?, row.get("body")?, row.get("not_kept")?),
                [row.get("created")?, row.get("completed")?, row.get("expires")?],
            ))
        };
        let mut rows = database.prepare(&query).unwrap();
        answers.extend(rows.query_map([], read).unwrap().map(Result::unwrap));
    }
    let [(what, times)] = &answers[..] else { panic!("{answers:?}") };
    let (status, headers, body, not_kept): &(u16, String, Vec<u8>, Option<String>) = what;
    let headers: Vec<(String, String)> = serde_json::from_str(headers).unwrap();
    assert_eq!((*status, &body[..], not_kept), (201, &b"a\nb\0\xff"[..], &None));
    assert!(headers.contains(&("location".into(), "/payments/1".into())));
    let [created, completed, expires]: [i64; 3] = *times;
    assert!(before <= created && created < completed && completed <= micros(), "{times:?}");
    assert_eq!(expires - completed, i64::try_from(window.as_micros()).unwrap());
}

fn micros() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}
