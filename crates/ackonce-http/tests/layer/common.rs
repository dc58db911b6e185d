//! A service that counts its runs, behind the layer, asked without a network.
#![allow(dead_code, unreachable_pub, reason = "each file uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ackonce::{Deduplicator, MemoryStore, Scope};
use ackonce_http::{IdempotencyLayer, Options, Principal};
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::any;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::Notify;
use tower::ServiceExt;

/// Runs of the inner service.
#[derive(Clone, Default)]
pub struct Runs(Arc<AtomicU32>);

impl Runs {
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
    pub fn more(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// A handler that says that it started, and waits to be let go.
#[derive(Clone, Default)]
pub struct Gate {
    pub started: Arc<Notify>,
    pub go: Arc<Notify>,
}

impl Gate {
    pub async fn pass(&self) {
        self.started.notify_one();
        self.go.notified().await;
    }
}

pub struct Api {
    pub app: Router,
    pub layer: IdempotencyLayer,
    pub runs: Runs,
}

pub fn scope() -> Scope {
    Scope::new("api").unwrap()
}

impl Api {
    /// `handler` is told which run it is.
    pub fn new<F, Fut, R>(options: Options, handler: F) -> Self
    where
        F: Fn(u32, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = R> + Send,
        R: IntoResponse,
    {
        Self::on(Arc::new(MemoryStore::new()), options, handler)
    }

    pub fn on<F, Fut, R>(store: Arc<dyn Deduplicator>, options: Options, handler: F) -> Self
    where
        F: Fn(u32, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = R> + Send,
        R: IntoResponse,
    {
        Self::of(store, Principal::bearer(), options, handler)
    }

    pub fn of<F, Fut, R>(
        store: Arc<dyn Deduplicator>,
        principal: Principal,
        options: Options,
        handler: F,
    ) -> Self
    where
        F: Fn(u32, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = R> + Send,
        R: IntoResponse,
    {
        let runs = Runs::default();
        let count = runs.clone();
        let route = any(move |request: Request<Body>| handler(count.more(), request));
        let layer = IdempotencyLayer::with(store, &scope(), principal, options).unwrap();
        Self { app: Router::new().fallback(route).layer(layer.clone()), layer, runs }
    }

    /// A handler that answers 201 with the number of its run.
    pub fn numbering(options: Options) -> Self {
        Self::numbering_for(Principal::bearer(), options)
    }

    pub fn numbering_for(principal: Principal, options: Options) -> Self {
        let handler = async |run: u32, _| (StatusCode::CREATED, run.to_string());
        Self::of(Arc::new(MemoryStore::new()), principal, options, handler)
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.app.clone().oneshot(request).await.unwrap()).await
    }

    /// `POST /payments` with this key and body.
    pub async fn post(&self, key: &str, body: impl Into<Body>) -> Answer {
        self.send(post(key).body(body.into()).unwrap()).await
    }
}

pub fn post(key: &str) -> http::request::Builder {
    Request::post("/payments").header("authorization", "Bearer sk_1").header("idempotency-key", key)
}

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub async fn of(response: http::Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub fn is_replay(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|v| v == "true")
    }

    /// The name of the problem, where the answer is one.
    pub fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "it says what to do");
        let name = problem["error"].as_str().unwrap().to_owned();
        assert_eq!(problem["type"], format!("urn:ackonce:problem:{name}"));
        assert_eq!(problem["retryable"], self.headers.contains_key("retry-after"));
        name
    }

    /// Status and problem.
    pub fn refusal(&self) -> (u16, String) {
        (self.status, self.problem())
    }

    /// The answer without the header that marks a replay.
    pub fn plain(&self) -> Self {
        let mut plain = self.clone();
        plain.headers.remove("idempotent-replayed");
        plain.headers.remove("content-length");
        plain
    }
}
