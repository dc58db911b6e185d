//! The service behind.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server that counts its runs.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    runs: Arc<AtomicU32>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let (address, runs) = (listener.local_addr().unwrap(), Arc::<AtomicU32>::default());
        let app = Router::new()
            .route("/number", any(number))
            .route("/slow", any(slow))
            .route("/fail", any(async || (StatusCode::INTERNAL_SERVER_ERROR, "no")))
            .route("/refuse", any(refuse))
            .route("/chunks", any(chunks))
            .route("/headers", any(headers))
            .route("/echo", any(async |request: Request<Body>| request.into_body()))
            .route("/count", any(count))
            .with_state(runs.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, runs }
    }

    pub(crate) fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

type Runs = State<Arc<AtomicU32>>;

async fn number(State(runs): Runs) -> impl IntoResponse {
    (StatusCode::CREATED, (runs.fetch_add(1, Ordering::SeqCst) + 1).to_string())
}

async fn slow(State(runs): Runs) -> impl IntoResponse {
    let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    (StatusCode::CREATED, run.to_string())
}

/// A 201 that is not to be kept, and a 422 that is, as the query says.
async fn refuse(State(runs): Runs, request: Request<Body>) -> Response {
    let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
    let kept = request.uri().query().unwrap_or_default().to_owned();
    let status = match kept.eq_ignore_ascii_case("true") {
        true => StatusCode::UNPROCESSABLE_ENTITY,
        false => StatusCode::CREATED,
    };
    (status, [("ackonce-replayable", kept)], run.to_string()).into_response()
}

/// An answer of unknown length, whose second chunk has to be waited for.
async fn chunks(State(runs): Runs) -> Body {
    runs.fetch_add(1, Ordering::SeqCst);
    Body::from_stream(futures_util::stream::iter(["now ", "later"]).then(|text| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok::<_, std::io::Error>(text)
    }))
}

async fn headers(request: Request<Body>) -> String {
    let mut lines: Vec<_> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines.join("\n")
}

async fn count(request: Request<Body>) -> String {
    let (mut body, mut len) = (request.into_body(), 0);
    while let Some(frame) = body.frame().await {
        len += frame.unwrap().data_ref().map_or(0, |data| data.len());
    }
    len.to_string()
}

/// A server that reads a request, says `answer` and breaks off.
pub(crate) async fn breaks_off(answer: &'static str) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, runs) = (listener.local_addr().unwrap(), Arc::<AtomicU32>::default());
    let count = runs.clone();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            if connection.read(&mut head).await.is_ok_and(|n| n > 0) {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = connection.write_all(answer.as_bytes()).await;
            }
        }
    });
    (address, runs)
}
