//! The feature `axum`: the operation as an extractor, targets in nested routers.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;

use ackonce::{MemoryStore, Scope};
use ackonce_http::{IdempotencyLayer, Need, NoOperation, Operation, Options, Principal, Target};
use axum::body::{Body, to_bytes};
use axum::response::IntoResponse;
use axum::{Router, routing::post};
use http::{Request, StatusCode};
use tower::ServiceExt;

async fn send(app: &Router, path: &str, key: Option<&str>) -> (StatusCode, String) {
    let mut request = Request::post(path);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    (status, String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
}

fn app(need: Need) -> Router {
    let needed = async |operation: Operation, body: String| {
        if body.is_empty() && operation.key().as_bytes() == b"marked" {
            operation.mark_irreversible();
            return (StatusCode::BAD_GATEWAY, String::new());
        }
        (StatusCode::OK, format!("{} run {}", operation.key(), operation.attempt()))
    };
    let optional = async |operation: Option<Operation>| {
        operation.map_or("none".to_owned(), |operation| operation.key().to_string())
    };
    let options = Options::default().with_need(need);
    let store = Arc::new(MemoryStore::new());
    let layer =
        IdempotencyLayer::with(store, &Scope::new("api").unwrap(), Principal::single_tenant(), options)
            .unwrap();
    Router::new().route("/needed", post(needed)).route("/optional", post(optional)).layer(layer)
}

#[tokio::test]
async fn a_handler_is_given_its_operation_with_key_and_attempt() {
    let app = app(Need::Required);
    assert_eq!(send(&app, "/needed", Some("\"k\"")).await, (StatusCode::OK, "k run 1".into()));
    assert_eq!(send(&app, "/optional", Some("k")).await, (StatusCode::OK, "k".into()));
}

#[tokio::test]
async fn a_mark_on_the_extracted_operation_is_the_runs_own() {
    let app = app(Need::Required);
    assert_eq!(send(&app, "/needed", Some("marked")).await.0, StatusCode::BAD_GATEWAY);
    let (status, body) = send(&app, "/needed", Some("marked")).await;
    assert!(status == StatusCode::CONFLICT && body.contains("outcome_unknown"), "{status} {body}");
}

#[tokio::test]
async fn without_a_key_there_is_no_operation() {
    let app = app(Need::Optional);
    assert_eq!(send(&app, "/optional", None).await, (StatusCode::OK, "none".into()));
    let (status, body) = send(&app, "/needed", None).await;
    assert!(status == StatusCode::INTERNAL_SERVER_ERROR && body.contains("no_operation"), "{status} {body}");
    assert_eq!(NoOperation.into_response().headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn two_nested_routers_with_one_layer_share_no_keys_by_default() {
    for target in [Target::default(), Target::host_and_path()] {
        let store = Arc::new(MemoryStore::new());
        let scope = Scope::new("api").unwrap();
        let options = Options::default().with_target(target);
        let layer = IdempotencyLayer::with(store, &scope, Principal::single_tenant(), options).unwrap();
        let region =
            |name: &'static str| Router::new().route("/pay", post(async move || name)).layer(layer.clone());
        let nested = Router::new().nest("/v1", Router::new().nest("/eu", region("v1 eu")));
        let app = nested.nest("/us", region("us")).nest("/eu", region("eu")).merge(region("root"));
        for (path, answer) in
            [("/us/pay", "us"), ("/eu/pay", "eu"), ("/v1/eu/pay", "v1 eu"), ("/pay", "root")]
        {
            assert_eq!(send(&app, path, Some("k")).await, (StatusCode::OK, answer.into()), "{path}");
        }
        assert_eq!(layer.counts().completed, 4, "each ran");
        // The key that names a record is that of the path that was sent.
        let key = layer.key(None, &http::Method::POST, "/us/pay", b"k").unwrap();
        assert!(key.id().starts_with(b"POST /us/pay "), "{key:?}");
    }
}
