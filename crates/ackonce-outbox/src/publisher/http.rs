//! HTTP: the destination is a URL, or a path beneath one.

use std::time::Duration;

use ackonce::{Error, ErrorKind, Failure, Result};
use ackonce_http::post::{Poster, ServiceAddress, printable};
use async_trait::async_trait;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;

use crate::{OutboxMessage, OutboxPublisher};

/// The longest wait for an answer, and the most requests at once.
const LIMIT: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 64;
/// Headers of the connection, which are the client's to set.
const OF_CONNECTION: [HeaderName; 8] =
    [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, TE, TRAILER, UPGRADE, EXPECT];

/// Posts each message to a service, with its headers and the header `Idempotency-Key`, which is the message ID (percent-encoded
/// where it is not printable ASCII). A key goes along as `ackonce-key`.
///
/// | answer | the message |
/// |---|---|
/// | 2xx | is done |
/// | 408, 409, 425, 5xx, a redirection, none in time | is tried again after a back-off; the attempt counts |
/// | 429, 502, 503, 504, no connection | is tried again, as often as it takes |
/// | any other 4xx | is parked |
///
/// `Retry-After` is honoured up to an hour. A service that is away holds back its own messages: all of them
/// [`beneath`](Self::beneath) one address, else those of each lane by itself.
///
/// ```
/// use ackonce_outbox::{HttpPublisher, Outgoing};
/// # fn main() -> ackonce::Result<()> {
/// let publisher = HttpPublisher::beneath("https://billing.internal/events")?;
/// let placed = Outgoing::new("orders/placed", r#"{"id": 7}"#).with_header("content-type", "application/json");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct HttpPublisher {
    poster: Poster,
    base: Option<ServiceAddress>,
    at_once: usize,
}

impl HttpPublisher {
    /// Destinations are paths beneath this address, which may have a user and a password: `http[s]://HOST[:PORT]/PATH`.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config): it is no such address, or is `https://` in a build without the feature `tls`.
    pub fn beneath(address: &str) -> Result<Self> {
        let parsed = ServiceAddress::parse(address).and_then(|base| base.beneath("").map(|_| base));
        let base = parsed.map_err(|e| Error::new(ErrorKind::Config, "outbox: its service").with_source(e))?;
        Self { poster: Poster::new(Some(&base), LIMIT, AT_ONCE)?, base: Some(base), at_once: AT_ONCE }
            .checked()
    }

    /// Destinations are URLs without user and password. Whoever publishes decides which hosts the relay speaks to.
    ///
    /// # Errors
    /// As [`beneath`](Self::beneath).
    pub fn anywhere() -> Result<Self> {
        Self { poster: Poster::new(None, LIMIT, AT_ONCE)?, base: None, at_once: AT_ONCE }.checked()
    }

    /// The same with this longest wait for an answer (default 30 s), and so many requests at once (default 64).
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config): one of them is zero.
    pub fn with_limits(self, answer: Duration, at_once: usize) -> Result<Self> {
        let poster = Poster::new(self.base.as_ref(), answer, at_once)?;
        match answer.is_zero() {
            true => Err(Error::new(ErrorKind::Config, "outbox: no service answers in no time")),
            false => Self { poster, at_once, ..self }.checked(),
        }
    }

    fn checked(self) -> Result<Self> {
        match self.at_once {
            0 => Err(Error::new(ErrorKind::Config, "outbox: with no request at once nothing is sent")),
            _ => Ok(self),
        }
    }

    fn request(&self, message: &OutboxMessage) -> Result<Request<Full<bytes::Bytes>>, String> {
        let address = match &self.base {
            Some(base) => base.beneath(&message.to),
            None => ServiceAddress::parse(&message.to),
        };
        let address = address.map_err(|error| format!("its destination: {error}"))?;
        if self.base.is_none() && address.has_login() {
            return Err("its destination has a user; send the header `authorization`".to_owned());
        }
        let id = message.id.as_bytes();
        let mut request = Poster::request(&address, &printable(id), id);
        if let Some(key) = &message.key {
            request = request.header("ackonce-key", &*printable(key));
        }
        let mut request =
            request.body(Full::new(message.payload.clone())).map_err(|error| error.to_string())?;
        let own = request.headers().clone();
        for (name, value) in &message.headers {
            let refused = |why: &str| format!("its header {name:?} {why}");
            let header = HeaderName::try_from(name).map_err(|_| refused("is no name of an HTTP header"))?;
            let value = HeaderValue::from_bytes(value).map_err(|_| refused("has a control character"))?;
            if own.contains_key(&header) || OF_CONNECTION.contains(&header) {
                return Err(refused("is set by the publisher"));
            }
            request.headers_mut().append(header, value);
        }
        Ok(request)
    }
}

#[async_trait]
impl OutboxPublisher for HttpPublisher {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), Failure> {
        let request = self.request(message).map_err(Failure::permanent)?;
        self.poster.send(request).await
    }

    fn is_one_place(&self) -> bool {
        self.base.is_some()
    }

    fn at_once(&self) -> usize {
        self.at_once
    }
}
