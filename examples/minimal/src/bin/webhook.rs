//! An endpoint for Stripe's webhooks: verified first, and each event takes effect once.

use std::env::var;
use std::error::Error;
use std::sync::Arc;

use ackonce::Scope;
use ackonce_sqlite::SqliteStore;
use ackonce_webhook::{Event, Stripe, WebhookLayer};
use axum::http::StatusCode;
use axum::{Extension, Router, routing::post};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let stripe = Stripe::new([var("STRIPE_SECRET").unwrap_or("whsec_example".into())])?;
    let store = Arc::new(SqliteStore::open("dedup.db")?);
    let webhooks = WebhookLayer::new(stripe, &Scope::new("billing/stripe")?, store)?;
    let app = Router::new().route("/webhooks/stripe", post(paid)).layer(webhooks.clone());
    let listener = TcpListener::bind(var("LISTEN").unwrap_or("127.0.0.1:8080".into())).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let shutdown = ackonce::shutdown_on_signals()?;
    axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await?;
    webhooks.drain().await;
    Ok(())
}

/// Runs once per event. A 2xx is recorded; after any other status Stripe sends the event again, and it runs again.
async fn paid(Extension(event): Extension<Event>) -> StatusCode {
    println!("{:?} {:?}", event.id(), event.kind());
    StatusCode::NO_CONTENT
}
