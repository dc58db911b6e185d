//! A POST of a message to a service, under an idempotency key: the part of a client that relay and outbox share.

mod address;
mod answer;
mod connector;
mod text;
mod within;

use std::fmt;
use std::time::{Duration, Instant};

use ackonce::{Error, ErrorKind, Failure, Result};
use bytes::Bytes;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{Method, Request, Response, request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

pub use self::address::{InvalidAddress, ServiceAddress};
pub use self::text::{excerpt, printable};
pub use self::within::ConnectWithin;

use self::answer::answer_of;
use self::connector::{Connector, connector};
use crate::identity::IDEMPOTENCY_KEY;

/// An idle connection is closed after this, before most services close it.
const IDLE: Duration = Duration::from_secs(15);
/// The most bytes of an answer that are read. The connection of a longer one is not used again.
const ANSWER: usize = 64 << 10;

/// Posts messages to services, over connections that are kept. Cloning is cheap.
#[derive(Clone)]
pub struct Poster {
    client: Client<Connector, Full<Bytes>>,
    limit: Duration,
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Poster {
    /// `limit` is the longest wait for an answer, and half of it, but 10 s at most, for a connection; so many idle
    /// connections are kept for each host. With an address, all requests go there or beneath it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: `https://` in a build without the feature `tls`, or on a system without root certificates.
    pub fn new(address: Option<&ServiceAddress>, limit: Duration, connections: usize) -> Result<Self> {
        let is_secure = address.is_some_and(|address| address.uri().scheme_str() == Some("https"));
        if is_secure && !cfg!(feature = "tls") {
            return Err(Error::new(ErrorKind::Config, NO_TLS));
        }
        let client = Client::builder(TokioExecutor::new())
            // Without a timer idle connections are never closed.
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(connections)
            .build(connector(is_secure, limit)?);
        Ok(Self { client, limit })
    }

    /// A request to this address, with its login, under this idempotency key and message ID.
    pub fn request(address: &ServiceAddress, key: &str, id: &[u8]) -> request::Builder {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(address.uri().clone())
            .header(USER_AGENT, concat!("ackonce/", env!("CARGO_PKG_VERSION")))
            .header(IDEMPOTENCY_KEY, key)
            .header("ackonce-message-id", &*printable(id));
        if let Some(authorization) = address.authorization() {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request
    }

    /// Sends a request and reads its answer. Redirections are not followed.
    ///
    /// # Errors
    /// The [`Failure`] by its next step. Nothing was sent, or 429, 502, 503 or 504: [`Failure::Infrastructure`]. 408, 409,
    /// 425, other 5xx and redirections: [`Failure::Retry`]. An answer that did not come: [`Failure::Unknown`]. Other 4xx:
    /// [`Failure::Permanent`]. With the pause that `Retry-After` asks for. The status counts, though the body breaks off or
    /// does not end in time.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<(), Failure> {
        if !cfg!(feature = "tls") && request.uri().scheme_str() == Some("https") {
            return Err(Failure::permanent(NO_TLS));
        }
        let began = Instant::now();
        let response = match tokio::time::timeout(self.limit, self.client.request(request)).await {
            Ok(response) => response.map_err(|error| match error.is_connect() {
                // Nothing was sent.
                true => Failure::infrastructure(error),
                false => Failure::unknown(error),
            })?,
            Err(_) => {
                return Err(Failure::unknown(format!("the service did not answer within {:?}", self.limit)));
            }
        };
        let (parts, body) = Response::into_parts(response);
        let body = read(body, self.limit.saturating_sub(began.elapsed())).await;
        answer_of(parts.status, &parts.headers, &body)
    }
}

const NO_TLS: &str = "https:// needs a build with the feature `tls`";

/// The answer's body, so that its connection can be used again; as much as there is of one that breaks off or does not end
/// within `limit`, for its status has been said.
async fn read(body: Incoming, limit: Duration) -> Bytes {
    let mut body = Limited::new(body, ANSWER);
    let mut whole = Vec::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Some(data) = frame.data_ref() {
                whole.extend_from_slice(data);
            }
        }
    };
    let _ = tokio::time::timeout(limit, reading).await;
    whole.into()
}
