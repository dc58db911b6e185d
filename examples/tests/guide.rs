//! The blocks of the guide with code of other crates than the core, which cannot depend on them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;

use ackonce::{CancellationToken, Context, Failure, Keyed, MemoryStore, Scope};
use ackonce_http::{IdempotencyLayer, Principal};
use ackonce_kafka::{ClientConfig, KafkaConsumer, KafkaMessage};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use axum::{Router, middleware};
use tower_layer::Identity;

async fn charge(_: Context, _: KafkaMessage) -> Result<(), Failure> {
    Ok(())
}

async fn consume(
    config: ClientConfig,
    store: Arc<MemoryStore>,
    shutdown: CancellationToken,
) -> Result<(), Box<dyn std::error::Error>> {
    KafkaConsumer::new(config, &["orders"], &Scope::new("billing/charge-card")?, store)
        .with_dead_letters("orders.dead")
        .with_shutdown(shutdown)
        .run(Keyed(charge))
        .await?;
    Ok(())
}

async fn authenticate(request: Request, next: middleware::Next) -> Response {
    next.run(request).await
}

async fn pay() -> StatusCode {
    StatusCode::CREATED
}

fn serve(idempotency: IdempotencyLayer) -> Router {
    let (compression, cors, traces) = (Identity::new(), Identity::new(), Identity::new());
    Router::new()
        .route("/payments", post(pay))
        .layer(idempotency)
        .layer(middleware::from_fn(authenticate))
        .layer(compression)
        .layer(cors)
        .layer(traces)
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).collect()
}

#[tokio::test]
async fn the_blocks_of_other_crates_compile_as_they_stand() {
    let store = Arc::new(MemoryStore::new());
    drop(consume(ClientConfig::new(), store.clone(), CancellationToken::new()));
    let _router = serve(
        IdempotencyLayer::new(store, &Scope::new("payments").unwrap(), Principal::single_tenant()).unwrap(),
    );

    let here = lines(include_str!("guide.rs"));
    let blocks = include_str!("../../crates/ackonce/docs/guide.md").split("```text\n").skip(1);
    let blocks = blocks.map(|block| lines(block.split("```").next().unwrap())).collect::<Vec<_>>();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        assert!(here.windows(block.len()).any(|lines| lines == block), "{block:#?}");
    }
}
