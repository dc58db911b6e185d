//! Kept answers are plain columns for SQL.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce::{Deduplicator, Scope};
use ackonce_http::{IdempotencyLayer, Options, Principal, sql};
use ackonce_postgres::{Names, PostgresConfig, SchemaName, Tables};
use ackonce_sqlite::SqliteStore;
use ackonce_sqlite::rusqlite::{Connection, Row};
use axum::{Router, body::Body, routing::post};
use http::{Request, StatusCode};
use tokio_postgres::NoTls;
use tower::ServiceExt;

const WINDOW: Duration = Duration::from_secs(3600);

/// One request to a layer on this store, which answers 201 with headers and bytes.
async fn answer(store: Arc<dyn Deduplicator>) {
    let options = Options::default().with_window(WINDOW);
    let layer =
        IdempotencyLayer::with(store, &Scope::new("api").unwrap(), Principal::single_tenant(), options)
            .unwrap();
    let handler = post(async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        (StatusCode::CREATED, [("location", "/payments/1"), ("x-many", "a")], &b"a\nb\0\xff"[..])
    });
    let request = Request::post("/payments").header("idempotency-key", "k").body(Body::empty()).unwrap();
    let response = Router::new().route("/payments", handler).layer(layer).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn status_headers_body_created_completed_and_expires_are_columns_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.db");
    let before = micros();
    answer(Arc::new(SqliteStore::open(&path).unwrap())).await;

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
    assert_eq!(expires - completed, i64::try_from(WINDOW.as_micros()).unwrap());
}

#[tokio::test]
async fn request_status_headers_body_created_completed_and_expires_are_columns_in_postgres() {
    let Some(url) = ackonce_testkit::servers::address("ACKONCE_TEST_POSTGRES") else { return };
    let schema = format!("ackonce-http {} {}", std::process::id(), micros());
    let config = PostgresConfig::new(&url)
        .unwrap()
        .with_schema(SchemaName::new(&schema).unwrap())
        .with_tables(Tables::CreateMissing)
        .with_names(Names::Keep);
    let store = Arc::new(config.connect().await.unwrap());
    answer(store.clone()).await;

    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let view = sql::POSTGRES.replace("{schema}", &format!("\"{schema}\""));
    client.batch_execute(&format!("CREATE VIEW \"{schema}\".answer AS {view}")).await.unwrap();
    let row = client
        .query_one(
            &format!(
                "SELECT *, created < completed AND completed <= clock_timestamp() AS in_order, \
                 extract(epoch FROM expires - completed)::float8 AS remembered FROM \"{schema}\".answer"
            ),
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, &[u8]>("request"), b"POST /payments * k");
    assert_eq!(row.get::<_, i32>("status"), 201);
    let headers: serde_json::Value = row.get("headers");
    assert!(
        headers.as_array().unwrap().contains(&serde_json::json!(["location", "/payments/1"])),
        "{headers}"
    );
    assert_eq!(row.get::<_, &[u8]>("body"), b"a\nb\0\xff");
    assert_eq!(row.get::<_, Option<&str>>("not_kept"), None);
    assert!(row.get::<_, Option<i64>>("fingerprint").is_some());
    assert!(row.get::<_, bool>("in_order"));
    assert_eq!(row.get::<_, f64>("remembered"), WINDOW.as_secs_f64());
    mend(store).await;
    client.batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE")).await.unwrap();
}

/// A request that was answered 4xx is mended under the same key.
async fn mend(store: Arc<dyn Deduplicator>) {
    let scope = Scope::new("mend").unwrap();
    let layer = IdempotencyLayer::new(store, &scope, Principal::single_tenant()).unwrap();
    let handler = post(async |body: String| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if body == "broken" { StatusCode::BAD_REQUEST } else { StatusCode::CREATED }
    });
    let app = Router::new().route("/payments", handler).layer(layer);
    for (body, status) in
        [("broken", 400), ("broken", 400), ("mended", 201), ("mended", 201), ("broken", 422)]
    {
        let request =
            Request::post("/payments").header("idempotency-key", "k").body(Body::from(body)).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status().as_u16(), status, "{body}");
    }
}

#[tokio::test]
async fn a_4xx_can_be_mended_under_the_same_key_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    mend(Arc::new(SqliteStore::open(directory.path().join("api.db")).unwrap())).await;
}

fn micros() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}
