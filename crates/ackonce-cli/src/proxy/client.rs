//! Connections to the upstream: kept alive, and taken again.

use std::time::Duration;

use ackonce::BoxError;
use ackonce_http::post::ConnectWithin;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::client::legacy::{Builder, Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::args::HostHeader;
use super::body::ForwardBody;
use super::upstream::{Protocol, Upstream};
use crate::refusal::Refusal;

/// The time for which a connection without a request is kept. Services close theirs after 5 s (Node) to 75 s (nginx); one
/// that is closed first is noticed before a request is written to it.
const IDLE: Duration = Duration::from_secs(30);
/// The interval of questions on a silent HTTP/2 connection, and the longest wait for an answer to one.
const PING: Duration = Duration::from_secs(20);

type Connector = ConnectWithin<Secure>;
#[cfg(feature = "tls")]
type Secure = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Secure = HttpConnector;

/// Sends requests to the upstream. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    requests: Client<Connector, ForwardBody>,
    /// HTTP/1.1 always: HTTP/2 has no upgrades of this kind.
    upgrades: Client<Connector, ForwardBody>,
}

impl Sender {
    pub(super) fn new(upstream: &Upstream, host: HostHeader, connect: Duration) -> Result<Self, Refusal> {
        // Over HTTP/2 the name in a request is that of the upstream; a client's own goes with HTTP/1.1 only.
        let both = upstream.protocol == Protocol::Https && host == HostHeader::Upstream;
        let is_h2c = upstream.protocol == Protocol::H2c;
        let within = |secure| ConnectWithin::new(secure, connect);
        let requests = within(connector(upstream, connect, both)?);
        let upgrades = within(connector(upstream, connect, false)?);
        Ok(Self {
            requests: builder().http2_only(is_h2c).build(requests),
            upgrades: builder().build(upgrades),
        })
    }

    pub(super) async fn send(
        &self,
        mut request: http::Request<ForwardBody>,
        is_upgrade: bool,
        limit: Duration,
    ) -> Result<http::Response<Incoming>, Unanswered> {
        let client = if is_upgrade { &self.upgrades } else { &self.requests };
        let connection = capture_connection(&mut request);
        match tokio::time::timeout(limit, client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_connect() => Err(Unanswered::Unsent(error.into())),
            Ok(Err(error)) => Err(Unanswered::BrokeOff(error)),
            // Requests over HTTP/2 wait for one connection together, one try after another.
            Err(_) if connection.connection_metadata().is_none() => {
                Err(Unanswered::Unsent(format!("there was no connection within {limit:?}").into()))
            }
            Err(_) => Err(Unanswered::TimedOut),
        }
    }
}

/// Why there is no head of an answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// There was no connection: no byte of the request was sent.
    Unsent(BoxError),
    /// The connection broke.
    BrokeOff(Error),
    /// It did not come in time.
    TimedOut,
}

fn builder() -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        // Without it connections that nobody uses are never closed.
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING)
        .http2_adaptive_window(true);
    builder
}

fn http(connect: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(connect));
    connector.set_keepalive(Some(PING));
    connector
}

#[cfg(feature = "tls")]
fn connector(upstream: &Upstream, connect: Duration, http2: bool) -> Result<Secure, Refusal> {
    use hyper_rustls::HttpsConnectorBuilder;
    let provider = rustls::crypto::ring::default_provider();
    let builder = match upstream.protocol {
        Protocol::Https => HttpsConnectorBuilder::new().with_provider_and_native_roots(provider).map_err(|error| {
            Refusal::environment(format!(
                "--upstream: the certificates that this host trusts cannot be read ({error}); install ca-certificates, or \
                 name a file in the variable SSL_CERT_FILE"
            ))
        })?,
        Protocol::Http | Protocol::H2c => {
            // It is asked for plain connections only.
            let tls = rustls::ClientConfig::builder_with_provider(provider.into())
                .with_safe_default_protocol_versions()
                .map_err(|error| Refusal::environment(format!("--upstream: TLS cannot be used: {error}")))?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(tls)
        }
    };
    let builder = builder.https_or_http();
    Ok(match http2 {
        true => builder.enable_all_versions().wrap_connector(http(connect)),
        false => builder.enable_http1().wrap_connector(http(connect)),
    })
}

#[cfg(not(feature = "tls"))]
fn connector(_: &Upstream, connect: Duration, _: bool) -> Result<Secure, Refusal> {
    Ok(http(connect))
}
