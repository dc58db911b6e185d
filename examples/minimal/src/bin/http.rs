//! An API with the `Idempotency-Key` header: a request sent twice takes effect once, and both get the same answer.

use std::env::var;
use std::error::Error;
use std::sync::Arc;

use ackonce::Scope;
use ackonce_http::{IdempotencyLayer, Operation, Principal};
use ackonce_sqlite::SqliteStore;
use axum::{Router, http::StatusCode, routing::post};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let store = Arc::new(SqliteStore::open("dedup.db")?);
    // One tenant; behind authentication, `Principal::subject` keeps the keys of two accounts apart.
    let idempotency = IdempotencyLayer::new(store, &Scope::new("payments-api")?, Principal::single_tenant())?;
    let app = Router::new().route("/payments", post(pay)).layer(idempotency.clone());
    let listener = TcpListener::bind(var("LISTEN").unwrap_or("127.0.0.1:8080".into())).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let shutdown = ackonce::shutdown_on_signals()?;
    axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await?;
    idempotency.drain().await;
    Ok(())
}

/// Runs once per `Idempotency-Key`; the key that it passes on covers a run that a crash cut short.
async fn pay(operation: Operation, payment: String) -> (StatusCode, String) {
    println!("charged {payment} under {}", operation.idempotency_key("charge"));
    (StatusCode::CREATED, format!("paid {payment}\n"))
}
