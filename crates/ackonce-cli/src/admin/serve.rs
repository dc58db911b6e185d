//! Answers on the admin address.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;

use super::Liveness;

/// The most connections at once; more wait.
const CONNECTIONS: usize = 64;
/// The longest that a client may take to send the head of a request, and to keep a connection without one.
const HEAD: Duration = Duration::from_secs(10);
/// The longest life of a connection: monitors come again.
const LIFE: Duration = Duration::from_secs(300);
/// The interval at which samples of histograms are put into their buckets, which else happens only when somebody asks.
const UPKEEP: Duration = Duration::from_secs(5);
/// The wait after an accept that failed, for lack of file descriptors for instance.
const PAUSE: Duration = Duration::from_millis(100);

struct Page {
    metrics: PrometheusHandle,
    probe: Arc<dyn Liveness>,
}

/// Serves on a thread of its own until the process ends.
pub(super) fn spawn(
    listener: TcpListener,
    metrics: PrometheusHandle,
    probe: Arc<dyn Liveness>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let page = Arc::new(Page { metrics, probe });
    let listener = {
        let _in_runtime = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    std::thread::Builder::new().name("ackonce-admin".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::join!(upkeep(&page.metrics), accept(listener, &page));
        });
    })?;
    Ok(())
}

async fn upkeep(metrics: &PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}

async fn accept(listener: tokio::net::TcpListener, page: &Arc<Page>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let Ok((connection, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let page = page.clone();
        tokio::spawn(async move {
            let _place = place;
            let answer = service_fn(|request| std::future::ready(Ok::<_, Infallible>(page.answer(&request))));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(connection), answer);
            // A client that breaks off is its own affair.
            let _ = tokio::time::timeout(LIFE, connection).await;
        });
    }
}

impl Page {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match request.uri().path() {
            "/metrics" => {
                let mut answer = text(StatusCode::OK, self.metrics.render());
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                answer.headers_mut().insert(CONTENT_TYPE, kind);
                answer
            }
            "/healthz" => self.probed(self.probe.is_live(), ["live", "not live: it makes no progress"]),
            "/readyz" => self.probed(self.probe.is_ready(), ["ready", "not ready: it takes no work"]),
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n".to_owned()),
        }
    }

    fn probed(&self, good: bool, [yes, no]: [&str; 2]) -> Response<Full<Bytes>> {
        let (status, word) = if good { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) };
        text(status, format!("{word}\n{}\n", self.probe.report()))
    }
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
