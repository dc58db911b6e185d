//! `http[s]://…`: a POST of each message.

use std::time::Duration;

use ackonce::trace::{self, OutgoingSpan, TRACEPARENT, TRACESTATE};
use ackonce::{Context, Failure, Result};
use ackonce_http::post::{Poster, ServiceAddress, printable};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;

use super::{STEP, Sink, sent};
use crate::RelayMessage;
use crate::message::is_of_trace;
use crate::url::RelayUrlError;

/// A service's address.
#[derive(Clone)]
pub(super) struct HttpTarget(ServiceAddress);

impl HttpTarget {
    pub(super) fn parse(text: &str) -> Result<Self, RelayUrlError> {
        ServiceAddress::parse(text).map(Self).map_err(|error| RelayUrlError::new(error.to_string()))
    }

    pub(super) fn open(&self, limit: Duration, connections: usize) -> Result<HttpSink> {
        Ok(HttpSink { poster: Poster::new(Some(&self.0), limit, connections)?, address: self.0.clone() })
    }
}

/// Posts messages to a service, over connections that are kept.
#[derive(Debug)]
pub(super) struct HttpSink {
    poster: Poster,
    address: ServiceAddress,
}

#[async_trait]
impl Sink for HttpSink {
    fn carries_key(&self) -> bool {
        true
    }

    async fn deliver(&self, cx: &Context, message: &RelayMessage) -> Result<(), Failure> {
        let outgoing = trace::outgoing(cx, "http", self.address.host());
        let request = self.request(cx, message, outgoing.as_ref()).map_err(Failure::permanent)?;
        sent(outgoing, self.poster.send(request)).await
    }
}

impl HttpSink {
    fn request(
        &self,
        cx: &Context,
        message: &RelayMessage,
        outgoing: Option<&OutgoingSpan>,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Poster::request(&self.address, &cx.idempotency_key(STEP), cx.key().id())
            .header("ackonce-attempt", cx.attempt())
            .header("ackonce-fence", cx.fence());
        if let Some(kind) = message.content_type().and_then(|kind| HeaderValue::from_str(&kind).ok()) {
            request = request.header(CONTENT_TYPE, kind);
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
