//! A JSON echo, bare, behind a check by hand and behind the `Idempotency-Key` layer; each request has a key of its own.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{MemoryStore, Scope};
use ackonce_http::{IdempotencyLayer, Options as LayerOptions, Principal};
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use axum::{Json, Router};

use super::by_hand::{Answers, idempotent};
use super::load::Load;
use super::server::serve;
use super::{Options, measure, runtime};

const BODY: &str = r#"{"amount":1999,"currency":"eur","customer":"cus_123","card":"tok_visa"}"#;

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let server = runtime()?;
    let bare = server.block_on(serve(app()))?;
    let by_hand = from_fn_with_state(Answers::default(), idempotent);
    let by_hand = server.block_on(serve(app().layer(by_hand)))?;
    let guarded = server.block_on(async {
        // Records expire while it is measured, as in a server that is up for longer than its window.
        let layer = LayerOptions::default().with_window(Duration::from_secs(30));
        let store = Arc::new(MemoryStore::new());
        let layer = IdempotencyLayer::with(store, &Scope::new("bench")?, Principal::bearer(), layer)?;
        serve(app().layer(layer)).await
    })?;
    let servers =
        vec![("bare route", bare), ("behind a map by hand", by_hand), ("behind the layer", guarded)];
    measure("HTTP, JSON echo", options, servers, &Load::new(request, b"}"))
}

pub(super) fn app() -> Router {
    Router::new().route("/echo", post(async |Json(body): Json<serde_json::Value>| Json(body)))
}

pub(super) fn request(number: u64) -> String {
    format!(
        "POST /echo HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer sk_test_1\r\ncontent-type: application/json\r\n\
         idempotency-key: {number:032x}\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
}
