//! A request before it is verified.

use std::time::SystemTime;

use ackonce::adapter::Identify;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri};

/// A request as it came, before it is verified.
///
/// To verify one that was kept (from a queue, say), give the time it came as `now`.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use ackonce_webhook::{GitHub, Provider, RawRequest, VerifyError};
/// use http::{HeaderMap, Uri};
/// let github = GitHub::new(["secret"])?;
/// let (headers, body, uri) = (HeaderMap::new(), "{}".into(), Uri::from_static("/github"));
/// let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
/// let refused = github.verify(&RawRequest { headers: &headers, body: &body, uri: &uri, now });
/// assert!(matches!(refused, Err(VerifyError::Unsigned(_))));
/// # Ok::<(), ackonce_webhook::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RawRequest<'r> {
    /// The headers.
    pub headers: &'r HeaderMap,
    /// The body, byte for byte: a body that a framework has parsed and written again is not the signed one.
    pub body: &'r Bytes,
    /// The request's target; only its query is used.
    pub uri: &'r Uri,
    /// The time of receipt.
    pub now: SystemTime,
}

impl Identify for RawRequest<'_> {
    fn headers<'a>(&'a self, name: &'a str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        Box::new(self.headers.get_all(name).iter().map(HeaderValue::as_bytes))
    }

    fn key(&self) -> Option<&[u8]> {
        None
    }

    fn payload(&self) -> Option<&[u8]> {
        Some(self.body)
    }

    fn coordinates(&self) -> Option<Vec<u8>> {
        None
    }
}
