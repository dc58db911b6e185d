//! A consumer's HTTP endpoints for operators: `/metrics` and `/healthz`.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ackonce::CancellationToken;
use anyhow::{Context as _, Result, anyhow};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The interval at which histograms are summed up; without it, samples pile up until the next scrape.
const UPKEEP: Duration = Duration::from_secs(5);
/// The upper bounds of histograms of seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];

/// The address of `--admin`: HOST:PORT, or a port on the loopback interface.
///
/// # Errors
/// It is neither.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let mut found = text.to_socket_addrs().map_err(|why| format!("it is HOST:PORT or a port ({why})"))?;
    found.next().ok_or_else(|| "the host has no address".to_owned())
}

/// The health of a consumer.
#[derive(Debug, Clone)]
pub struct Health {
    /// It makes progress or waits for a cause outside of it; if not, a restart may help.
    pub live: bool,
    /// It is connected and consumes.
    pub ready: bool,
    /// Why, in lines of text.
    pub report: String,
}

type Ask = Box<dyn Fn() -> Health + Send + Sync>;

/// The HTTP server of one consumer; it ends when dropped. Without an address there is none.
#[derive(Default)]
pub struct Admin {
    health: Arc<OnceLock<Ask>>,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl Admin {
    /// Listens, and installs the recorder of metrics: to be called before the consumer is made.
    ///
    /// # Errors
    /// The address cannot be listened at.
    pub async fn start(address: Option<SocketAddr>) -> Result<Self> {
        let mut admin = Self::default();
        let Some(address) = address else { return Ok(admin) };
        let listener = TcpListener::bind(address).await.with_context(|| format!("--admin {address}"))?;
        let builder =
            PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?;
        let recorder = builder.build_recorder();
        let metrics = recorder.handle();
        metrics::set_global_recorder(recorder)
            .map_err(|_| anyhow!("a recorder of metrics is installed already"))?;
        let app = Router::new()
            .route("/metrics", get(show_metrics).with_state(metrics.clone()))
            .route("/healthz", get(show_health).with_state(admin.health.clone()));
        admin.tasks.push(tokio::spawn(async move {
            // Its own end: while the consumer drains, it can still be asked.
            if let Err(error) = crate::serve(listener, app, CancellationToken::new()).await {
                tracing::error!(%error, "--admin {address} is not served any more");
            }
        }));
        admin.tasks.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                metrics.run_upkeep();
            }
        }));
        Ok(admin)
    }

    /// From now on `/healthz` asks this consumer. Until then it answers that the consumer starts.
    pub fn watch(&self, health: impl Fn() -> Health + Send + Sync + 'static) {
        // The only failure is that there is one.
        let _ = self.health.set(Box::new(health));
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn show_metrics(State(metrics): State<PrometheusHandle>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
}

/// 200 for a live consumer and 503 for another, with its report: as JSON to those who accept that, else as text.
async fn show_health(State(health): State<Arc<OnceLock<Ask>>>, headers: HeaderMap) -> Response {
    let starting =
        || Health { live: true, ready: false, report: "it waits for the servers it starts with".into() };
    let Health { live, ready, report } = health.get().map_or_else(starting, |ask| ask());
    let status = if live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accept.into_iter().any(|value| value.contains("application/json")) {
        let report: Vec<_> = report.lines().collect();
        let body = serde_json::json!({ "live": live, "ready": ready, "report": report });
        return (status, Json(body)).into_response();
    }
    let yes = |yes: bool, word: &'static str| if yes { word.to_owned() } else { format!("not {word}") };
    (status, format!("{}, {}\n{}\n", yes(live, "live"), yes(ready, "ready"), report.trim_end()))
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_the_loopback_interface() {
        for (text, address_) in [
            ("9000", "127.0.0.1:9000"),
            (":9000", "127.0.0.1:9000"),
            ("0.0.0.0:9000", "0.0.0.0:9000"),
            ("[::1]:9000", "[::1]:9000"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), address_);
        }
        for text in ["", "host", "127.0.0.1", "1.2.3.4:99999"] {
            address(text).unwrap_err();
        }
    }
}
