//! The HTTP client of the exporter, on a runtime of its own: it goes on while the program's is busy or gone.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Runtime;

use crate::refusal::Refusal;

/// The longest that a collector may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest answer of a collector, in bytes.
const LONGEST: usize = 1 << 20;
const CONNECT: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(30);

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// Sends spans to the collector, and says when it goes away and when it comes back.
pub(super) struct Collector {
    runtime: Option<Runtime>,
    client: Client<Connector, Full<Bytes>>,
    away: AtomicBool,
}

impl Collector {
    pub(super) fn new() -> Result<Self, Refusal> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ackonce-traces")
            .enable_all()
            .build()
            .map_err(|error| {
                Refusal::environment(format!("the thread for traces could not be started: {error}"))
            })?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector(http)?);
        Ok(Self { runtime: Some(runtime), client, away: AtomicBool::new(false) })
    }

    /// Once for each outage.
    fn tell(&self, answer: &Result<Response<Bytes>, HttpError>) {
        let failed = match answer {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answered {}", response.status())),
            Err(error) => Some(ackonce::chain(&**error).to_string()),
        };
        match failed {
            Some(error) if !self.away.swap(true, Ordering::Relaxed) => {
                tracing::warn!(target: "ackonce", error,
                "the collector of traces (OTEL_EXPORTER_OTLP_ENDPOINT) takes no spans; spans are lost until it does, and nothing else")
            }
            None if self.away.swap(false, Ordering::Relaxed) => {
                tracing::warn!(target: "ackonce", "the collector of traces takes spans again");
            }
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let Some(runtime) = &self.runtime else { return Err("the program ends".into()) };
        let sending = self.client.request(request.map(Full::new));
        let answer = runtime.spawn(async move {
            let whole = async {
                let (head, body) = sending.await?.into_parts();
                let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
                Ok(Response::from_parts(head, body))
            };
            match tokio::time::timeout(ANSWER, whole).await {
                Ok(answer) => answer,
                Err(_) => Err(HttpError::from(format!("no answer within {ANSWER:?}"))),
            }
        });
        let answer = answer.await.unwrap_or_else(|error| Err(error.into()));
        self.tell(&answer);
        answer
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may be dropped inside of another runtime, where none may be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("away", &self.away).finish_non_exhaustive()
    }
}

#[cfg(feature = "tls")]
fn connector(http: HttpConnector) -> Result<Connector, Refusal> {
    let provider = rustls::crypto::ring::default_provider();
    let builder = hyper_rustls::HttpsConnectorBuilder::new();
    let builder = match builder.with_provider_and_native_roots(provider.clone()) {
        Ok(builder) => builder,
        // A collector beside the program needs none.
        Err(_) => {
            let none = rustls::ClientConfig::builder_with_provider(provider.into())
                .with_safe_default_protocol_versions()
                .map_err(|error| Refusal::environment(format!("TLS cannot be used for traces: {error}")))?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(none)
        }
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

#[cfg(not(feature = "tls"))]
fn connector(http: HttpConnector) -> Result<Connector, Refusal> {
    Ok(http)
}
