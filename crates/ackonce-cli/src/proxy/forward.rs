//! The tower service behind the layer: it forwards, and knows nothing of keys.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ackonce_http::body::Trailers;
use ackonce_http::problem::Problem;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use tower_service::Service;

use super::args::{Forwarded, HostHeader, ProxyArgs};
use super::body::{AnswerBody, ForwardBody};
use super::client::{Sender, Unanswered};
use super::headers::{announce, rewrite, strip, upgrade};
use super::idle::Activity;
use super::tunnel::Tunnels;
use super::upstream::{Protocol, Upstream};
use crate::refusal::Refusal;

/// The reason of an answer that the proxy made itself
/// ([RFC 9209](https://www.rfc-editor.org/rfc/rfc9209#section-2.3)).
pub(super) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// No byte of the request was sent.
pub(super) const UNSENT: HeaderValue = HeaderValue::from_static("ackonce; error=destination_unavailable");

/// Forwards requests to one upstream. Cloning is cheap.
#[derive(Clone)]
pub struct Forward(Arc<Shared>);

struct Shared {
    upstream: Upstream,
    sender: Sender,
    host: HostHeader,
    forwarded: Forwarded,
    trusted: bool,
    timeout: Duration,
    tunnels: Tunnels,
    /// It was said that the upstream cannot be reached.
    away: AtomicBool,
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("upstream", &self.0.upstream.to_string()).finish_non_exhaustive()
    }
}

/// Why there is no whole answer although the upstream may have had the request: the outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The connection broke before the head of an answer.
    #[error("the upstream broke off before it answered")]
    BrokeOff,
    /// The head of an answer did not come in time.
    #[error("the upstream did not answer in time")]
    TimedOut,
}

impl Forward {
    /// Forwards as the flags say.
    ///
    /// # Errors
    /// `--host client` over HTTP/2, or no trusted certificates on this host.
    pub fn new(args: &ProxyArgs) -> Result<Self, Refusal> {
        let upstream = args.upstream.clone();
        let own = if upstream.protocol == Protocol::Http { HostHeader::Client } else { HostHeader::Upstream };
        let host = args.host.unwrap_or(own);
        if upstream.protocol == Protocol::H2c && host == HostHeader::Client {
            return Err(Refusal::usage(
                "--host client cannot be had with an h2c:// upstream, since HTTP/2 names the upstream itself; leave it out, \
                 and read X-Forwarded-Host",
            ));
        }
        Ok(Self(Arc::new(Shared {
            sender: Sender::new(&upstream, host, args.connect_timeout)?,
            upstream,
            host,
            forwarded: args.forwarded,
            trusted: args.trust_forwarded,
            timeout: args.upstream_timeout,
            tunnels: Tunnels::new(args.idle_timeout),
            away: AtomicBool::new(false),
        })))
    }

    pub(super) fn tunnels(&self) -> &Tunnels {
        &self.0.tunnels
    }

    async fn forward(self, mut request: Request<ForwardBody>) -> Result<Response<AnswerBody>, Broken> {
        let Self(shared) = self;
        // Taken first: it is of the connection that the request came by.
        let client = hyper::upgrade::on(&mut request);
        let activity = request.extensions_mut().remove::<Activity>();
        let Some(uri) = shared.upstream.uri(request.uri()) else { return Ok(no_path().into_response()) };
        let (mut head, body) = request.into_parts();
        let is_upgrade = upgrade(head.version, &head.headers).is_some();
        rewrite(&mut head, shared.host, shared.forwarded, shared.trusted);
        let trailers = head.extensions.remove::<Trailers>();
        if let Some(Trailers(fields)) = &trailers {
            announce(&mut head.headers, fields);
        }
        let body = body.with(trailers);
        // Each side speaks its own version; the client raises it where HTTP/2 was agreed on.
        let mut sent = Request::new(body);
        (*sent.method_mut(), *sent.uri_mut(), *sent.headers_mut()) = (head.method, uri, head.headers);
        let mut answer = match shared.sender.send(sent, is_upgrade, shared.timeout).await {
            Ok(answer) => answer,
            Err(Unanswered::Unsent(error)) => return Ok(shared.unreachable(&*error)),
            Err(Unanswered::TimedOut) => return Err(Broken::TimedOut),
            Err(Unanswered::BrokeOff(error)) => {
                tracing::debug!(target: "ackonce", error = %ackonce::chain(&error), "the upstream broke off");
                return Err(Broken::BrokeOff);
            }
        };
        if shared.away.swap(false, Ordering::Relaxed) {
            tracing::warn!(target: "ackonce", upstream = %shared.upstream, "the upstream can be reached again");
        }
        *answer.version_mut() = Version::HTTP_11;
        let to = answer.headers().get(UPGRADE).cloned();
        strip(answer.headers_mut());
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            shared.tunnels.open(client, hyper::upgrade::on(&mut answer), activity);
            let headers = answer.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            to.map(|to| headers.insert(UPGRADE, to));
        }
        Ok(answer.map(|body| AnswerBody::of_upstream(body, shared.timeout)))
    }
}

impl Shared {
    /// Nothing was sent, so the same request may be sent at any time.
    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> Response<AnswerBody> {
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(target: "ackonce", upstream = %self.upstream, error = %ackonce::chain(error), "the upstream \
                (--upstream) cannot be reached: requests are answered 502, and their keys stay free, until it can");
        }
        Problem::new(StatusCode::BAD_GATEWAY, "upstream_unreachable", "The service behind cannot be reached")
            .with_detail("Nothing was done. Send the same request again after Retry-After.")
            .with_retry_after(Duration::from_secs(1))
            .with_header(PROXY_STATUS, UNSENT)
            .into_response()
    }
}

fn no_path() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "target_without_path", "The target of the request has no path")
        .with_detail("Nothing was done. Send a path that begins with a slash.")
        .with_header(PROXY_STATUS, UNSENT)
}

impl Service<Request<ForwardBody>> for Forward {
    type Response = Response<AnswerBody>;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Broken>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ForwardBody>) -> Self::Future {
        Box::pin(self.clone().forward(request))
    }
}
