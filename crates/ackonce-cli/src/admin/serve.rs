//! Answers on the admin address.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ackonce::CancellationToken;
use axum::Router;
use axum::body::Body;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Handle;
use tower_service::Service as _;

use super::Liveness;
use super::connections::accept;

/// The interval at which samples of histograms are put into their buckets, which else happens only when somebody asks.
const UPKEEP: Duration = Duration::from_secs(5);

pub(super) struct Page {
    pub(super) metrics: PrometheusHandle,
    pub(super) probe: Arc<dyn Liveness>,
    /// Set once there is a store to show.
    pub(super) console: OnceLock<Router>,
    /// Why there is no console.
    pub(super) without: &'static str,
}

/// Serves on a thread of its own until the process ends; returns the thread's runtime.
pub(super) fn spawn(listener: TcpListener, page: Arc<Page>) -> std::io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let listener = {
        let _in_runtime = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    std::thread::Builder::new().name("ackonce-admin".to_owned()).spawn(move || {
        runtime.block_on(async {
            let metrics = page.metrics.clone();
            let answer = move |request| page.clone().answer(request);
            tokio::join!(upkeep(&metrics), accept(listener, answer, CancellationToken::new()));
        });
    })?;
    Ok(handle)
}

async fn upkeep(metrics: &PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}

impl Page {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let reads = request.method() == Method::GET || request.method() == Method::HEAD;
        match request.uri().path() {
            "/metrics" | "/healthz" | "/readyz" if !reads => {
                let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
                refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                refused
            }
            "/metrics" => {
                let mut answer = text(StatusCode::OK, self.metrics.render());
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                answer.headers_mut().insert(CONTENT_TYPE, kind);
                answer
            }
            "/healthz" => self.probed(self.probe.is_live(), ["live", "not live: it makes no progress"]),
            "/readyz" => self.probed(self.probe.is_ready(), ["ready", "not ready: it takes no work"]),
            _ => self.console(request).await,
        }
    }

    async fn console(&self, request: Request<Incoming>) -> Response<Body> {
        let Some(mut console) = self.console.get().cloned() else {
            return text(
                StatusCode::NOT_FOUND,
                format!("there are /metrics, /healthz and /readyz; {}\n", self.without),
            );
        };
        let answer: Result<_, Infallible> = console.call(request).await;
        answer.unwrap_or_else(|never| match never {})
    }

    fn probed(&self, good: bool, [yes, no]: [&str; 2]) -> Response<Body> {
        let (status, word) = if good { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) };
        text(status, format!("{word}\n{}\n", self.probe.report()))
    }
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
