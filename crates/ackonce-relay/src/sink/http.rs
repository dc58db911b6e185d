//! `http[s]://…`: a POST of each message.

use std::time::Duration;

use ackonce::trace::{self, OutgoingSpan, TRACEPARENT, TRACESTATE};
use ackonce::{Context, Error, ErrorKind, Failure, Result};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::answer::answer_of;
use super::{STEP, Sink, sent};
use crate::RelayMessage;
use crate::message::is_of_trace;
use crate::text::printable;
use crate::url::{RelayUrlError, decoded};

/// The time limit for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// An idle connection is closed after this, before most services close it.
const IDLE: Duration = Duration::from_secs(15);
/// The most bytes of an answer that are read. The connection of a longer one is not used again.
const ANSWER: usize = 64 << 10;

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// A service's address.
#[derive(Clone)]
pub(super) struct HttpTarget {
    uri: Uri,
    authorization: Option<HeaderValue>,
}

impl HttpTarget {
    pub(super) fn parse(text: &str) -> Result<Self, RelayUrlError> {
        let unlike = || RelayUrlError::new("it is no http:// URL; write http://HOST:PORT/PATH");
        let (scheme, rest) = text.split_once("://").ok_or_else(unlike)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if host.is_empty() {
            return Err(RelayUrlError::new("it names no host; write http://HOST:PORT/PATH"));
        }
        let authorization = user.map(basic).transpose()?;
        let uri: Uri = format!("{scheme}://{host}{path}").parse().map_err(|_| unlike())?;
        // The parser takes a port that is no number.
        if uri
            .authority()
            .is_some_and(|a| a.port_u16().is_none() && a.as_str().contains(':') && !a.as_str().ends_with(']'))
        {
            return Err(unlike());
        }
        Ok(Self { uri, authorization })
    }

    pub(super) fn open(&self, limit: Duration, connections: usize) -> Result<HttpSink> {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        http.enforce_http(false);
        let client = Client::builder(TokioExecutor::new())
            // Without a timer idle connections are never closed.
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(connections)
            .build(connector(http, &self.uri)?);
        Ok(HttpSink { client, uri: self.uri.clone(), authorization: self.authorization.clone(), limit })
    }
}

#[cfg(feature = "tls")]
fn connector(http: HttpConnector, uri: &Uri) -> Result<Connector> {
    // The only failure is that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = match hyper_rustls::HttpsConnectorBuilder::new().with_native_roots() {
        Ok(builder) => builder,
        // Plain HTTP needs none.
        Err(_) if uri.scheme_str() == Some("http") => {
            let none = rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty());
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(none.with_no_client_auth())
        }
        Err(error) => {
            let text = "https:// needs the system's root certificates; install ca-certificates";
            return Err(Error::new(ErrorKind::Config, text).with_source(error));
        }
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

#[cfg(not(feature = "tls"))]
fn connector(http: HttpConnector, uri: &Uri) -> Result<Connector> {
    match uri.scheme_str() {
        Some("https") => Err(Error::new(ErrorKind::Config, "https:// needs a build with the feature `tls`")),
        _ => Ok(http),
    }
}

/// `USER:PASSWORD` as a header.
fn basic(user: &str) -> Result<HeaderValue, RelayUrlError> {
    let login = STANDARD.encode(decoded(user)?);
    let mut value = HeaderValue::try_from(format!("Basic {login}"))
        .map_err(|_| RelayUrlError::new("its user and password cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Posts messages to a service, over connections that are kept.
pub(super) struct HttpSink {
    client: Client<Connector, Full<Bytes>>,
    uri: Uri,
    authorization: Option<HeaderValue>,
    limit: Duration,
}

impl std::fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSink").field("host", &self.uri.host()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Sink for HttpSink {
    fn carries_key(&self) -> bool {
        true
    }

    async fn deliver(&self, cx: &Context, message: &RelayMessage) -> Result<(), Failure> {
        let outgoing = trace::outgoing(cx, "http", self.uri.host().unwrap_or_default());
        let request = self.request(cx, message, outgoing.as_ref()).map_err(Failure::permanent)?;
        sent(outgoing, async {
            match tokio::time::timeout(self.limit, self.send(request)).await {
                Ok(answer) => answer,
                Err(_) => {
                    Err(Failure::unknown(format!("the service did not answer within {:?}", self.limit)))
                }
            }
        })
        .await
    }
}

impl HttpSink {
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(), Failure> {
        let response = self.client.request(request).await.map_err(|error| match error.is_connect() {
            // Nothing was sent.
            true => Failure::infrastructure(error),
            false => Failure::unknown(error),
        })?;
        let (parts, body) = Response::into_parts(response);
        let body = read(body).await;
        answer_of(parts.status, &parts.headers, &body)
    }

    fn request(
        &self,
        cx: &Context,
        message: &RelayMessage,
        outgoing: Option<&OutgoingSpan>,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let id = cx.key().id();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(USER_AGENT, concat!("ackonce/", env!("CARGO_PKG_VERSION")))
            .header("idempotency-key", cx.idempotency_key(STEP))
            .header("ackonce-message-id", &*printable(id))
            .header("ackonce-attempt", cx.attempt())
            .header("ackonce-fence", cx.fence());
        if let Some(kind) = message.content_type().and_then(|kind| HeaderValue::from_str(&kind).ok()) {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        for (name, value) in message.origin() {
            request = request.header(format!("ackonce-{name}"), &*printable(value.as_bytes()));
        }
        if let Some(context) = message.passed_on(outgoing) {
            request = request.header(TRACEPARENT, context.traceparent());
            if let Some(state) = context.tracestate() {
                request = request.header(TRACESTATE, state);
            }
        }
        for (name, value) in message.headers().into_iter().filter(|(name, _)| !is_of_trace(name)) {
            request = request.header(header_name(&name)?, &*printable(&value));
        }
        request.body(Full::new(message.payload_bytes()))
    }
}

/// Characters that a header's name cannot have are percent-encoded.
fn header_name(name: &str) -> Result<HeaderName, http::Error> {
    let mut encoded = String::from("ackonce-header-");
    for byte in name.bytes() {
        match byte {
            _ if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) => {
                encoded.push(byte.into())
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(HeaderName::try_from(encoded)?)
}

/// The answer's body, so that its connection can be used again; as much as there is of one that breaks off, for its status
/// has been said.
async fn read(body: Incoming) -> Bytes {
    let mut body = Limited::new(body, ANSWER);
    let mut whole = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            whole.extend_from_slice(data);
        }
    }
    whole.into()
}
