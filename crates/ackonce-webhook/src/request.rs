//! A request before it is verified.

use std::time::SystemTime;

use ackonce::adapter::Identify;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri};

/// A request as it came, before it is verified.
///
/// To verify one that was kept (from a queue, say), give the time it came as `now`.
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
