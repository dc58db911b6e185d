//! An answer as it is kept: a line of JSON, then the body as it is.
//!
//! ```text
//! {"ackonce-http":1,"status":201,"headers":[["location","/payments/1"]],"body":10,"window_ms":86400000}
//! {"id":"1"}
//! ```
//!
//! SQL can take it apart (the views of the SQL stores do). Header values are bytes; each is written as the
//! character of its number (ISO 8859-1), so none is lost. The line is followed by exactly `body` bytes.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::headers::{Cookies, Headers, kept};

/// `Idempotent-Replayed`, which is `true` on a replay and absent otherwise.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// `Idempotency-Replay-Unavailable`, which is `streamed` or `too-large` on an answer that will not be replayed, on the
/// first one and on the 410 of each repeat.
pub const REPLAY_UNAVAILABLE: HeaderName = HeaderName::from_static("idempotency-replay-unavailable");

const VERSION: u64 = 1;
const MAGIC: &[u8] = b"{\"ackonce-http\":";

/// An answer as it is kept; a record's [`outcome`](ackonce::store::Record::outcome). The record holds the rest:
/// the request's fingerprint, when it was claimed and when it expires. It completed `window` before
/// it expires.
///
/// ```
/// use std::time::Duration;
/// use ackonce_http::{Kept, StoredResponse};
/// use bytes::Bytes;
/// use http::{HeaderMap, StatusCode};
/// let stored = StoredResponse {
///     status: StatusCode::CREATED,
///     headers: HeaderMap::new(),
///     body: Kept::Whole("paid".into()),
///     window: Duration::from_secs(86_400),
/// };
/// // As `Inspect::get` finds it in a record.
/// let outcome: Bytes = stored.encode();
/// assert_eq!(StoredResponse::decode(&outcome), Ok(stored));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers, in order, repeated ones included; without those of the connection.
    pub headers: HeaderMap,
    /// The body, or why there is none.
    pub body: Kept,
    /// The window from its completion, in whole milliseconds.
    pub window: Duration,
}

/// A body as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// All of it.
    Whole(Bytes),
    /// It was passed on while it was made; a repeat is told so and does not run.
    Streamed,
    /// It was over [`Options::max_response`](crate::Options::max_response), and passed on; a repeat is told so and does not run.
    TooLarge,
}

/// Why bytes are not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A newer version of this crate wrote it.
    #[error("the answer was recorded by a newer version (format {0}, known is {VERSION})")]
    Newer(u64),
    /// No version wrote it as it is.
    #[error("the recorded answer is damaged: {0}")]
    Damaged(&'static str),
}

/// The line before the body.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    #[serde(rename = "ackonce-http")]
    version: u64,
    status: u16,
    #[serde(borrow)]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The length of the body in bytes.
    body: usize,
    window_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<NotKept>,
}

/// The reason that there is no body.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum NotKept {
    Streamed,
    TooLarge,
}

impl Kept {
    /// The body to replay, or the value of [`REPLAY_UNAVAILABLE`].
    pub(crate) fn whole(&self) -> Result<&Bytes, HeaderValue> {
        match self {
            Self::Whole(body) => Ok(body),
            Self::Streamed => Err(HeaderValue::from_static("streamed")),
            Self::TooLarge => Err(HeaderValue::from_static("too-large")),
        }
    }
}

impl StoredResponse {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        write(self.status, self.headers.iter(), &self.body, self.window)
    }

    /// Reads the bytes of [`encode`](Self::encode). Everything is checked again: a store may be older, newer or
    /// tampered with, and a header must not smuggle in another.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(record: &Bytes) -> Result<Self, RecordError> {
        use RecordError::Damaged;
        match version(record) {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => return Err(RecordError::Newer(newer)),
            _ => return Err(Damaged("it names no version")),
        }
        let end = record.iter().position(|b| *b == b'\n').ok_or(Damaged("its head has no end"))?;
        let head: Head<'_> = serde_json::from_slice(&record[..end]).map_err(|_| Damaged("its head"))?;
        let body = record.slice(end + 1..);
        if body.len() != head.body {
            return Err(Damaged("its length"));
        }
        let status = StatusCode::from_u16(head.status).map_err(|_| Damaged("its status"))?;
        if status.is_informational() {
            return Err(Damaged("its status"));
        }
        let mut headers =
            HeaderMap::try_with_capacity(head.headers.len()).map_err(|_| Damaged("its headers"))?;
        for (name, value) in &head.headers {
            let (name, value) = header(name, value).ok_or(Damaged("a header"))?;
            headers.try_append(name, value).map_err(|_| Damaged("its headers"))?;
        }
        let body = match head.kept {
            None => Kept::Whole(body),
            Some(_) if !body.is_empty() => return Err(Damaged("its length")),
            Some(NotKept::Streamed) => Kept::Streamed,
            Some(NotKept::TooLarge) => Kept::TooLarge,
        };
        Ok(Self { status, headers, body, window: Duration::from_millis(head.window_ms) })
    }

    /// The answer to a repeat, without [`REPLAYED`].
    ///
    /// # Errors
    /// The body was not kept: the value of [`REPLAY_UNAVAILABLE`].
    pub fn into_response<B: From<Bytes>>(self) -> Result<Response<B>, HeaderValue> {
        let mut response = Response::new(self.body.whole()?.clone().into());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        Ok(response)
    }
}

/// The record of an answer that is to be kept.
pub(crate) fn encode(
    status: StatusCode,
    headers: &HeaderMap,
    body: &Kept,
    cookies: Cookies,
    replayed: &Headers,
    window: Duration,
) -> Bytes {
    let empty = matches!(body, Kept::Whole(bytes) if bytes.is_empty());
    let kept = kept(headers, cookies, replayed, empty);
    write(status, headers.iter().filter(|(name, _)| kept(name)), body, window)
}

fn write<'a>(
    status: StatusCode,
    headers: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    body: &Kept,
    window: Duration,
) -> Bytes {
    let (body, kept) = match body {
        Kept::Whole(body) => (body.as_ref(), None),
        Kept::Streamed => (&b""[..], Some(NotKept::Streamed)),
        Kept::TooLarge => (&b""[..], Some(NotKept::TooLarge)),
    };
    let head = Head {
        version: VERSION,
        status: status.as_u16(),
        headers: headers.map(|(name, value)| (name.as_str().into(), latin1(value.as_bytes()))).collect(),
        body: body.len(),
        window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        kept,
    };
    let room: usize = head.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    // The store keeps the bytes as they are, so there is hardly more room than they take.
    let mut out = Vec::with_capacity(128 + room + body.len());
    // Writing text and numbers to memory cannot fail; a line that was cut short would not decode.
    let _ = serde_json::to_writer(&mut out, &head);
    out.push(b'\n');
    out.extend_from_slice(body);
    out.into()
}

/// The version alone, so that a newer format need not be understood to be recognised.
fn version(record: &[u8]) -> Option<u64> {
    let rest = record.strip_prefix(MAGIC)?;
    let digits = rest.iter().position(|b| !b.is_ascii_digit())?;
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

fn latin1(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) if text.is_ascii() => text.into(),
        _ => value.iter().map(|b| char::from(*b)).collect::<String>().into(),
    }
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_lowercase(name.as_bytes()).ok()?;
    let value: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
    Some((name, HeaderValue::from_bytes(&value?).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> StoredResponse {
        let mut headers = HeaderMap::new();
        for (name, value) in [("location", &b"/payments/1"[..]), ("x-odd", b"caf\xe9 \xff"), ("x-odd", b"")] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        StoredResponse {
            status: StatusCode::CREATED,
            headers,
            body: Kept::Whole(Bytes::from_static(b"\0\xff\n{}")),
            window: Duration::from_secs(86400),
        }
    }

    #[test]
    fn the_format_is_a_promise_to_stored_records() {
        let text = "{\"ackonce-http\":1,\"status\":201,\"headers\":[[\"location\",\"/payments/1\"],\
            [\"x-odd\",\"caf\u{e9} \u{ff}\"],[\"x-odd\",\"\"]],\"body\":5,\"window_ms\":86400000}\n";
        let mut expected = text.as_bytes().to_vec();
        expected.extend_from_slice(b"\0\xff\n{}");
        assert_eq!(sample().encode(), expected);
        assert_eq!(StoredResponse::decode(&expected.into()).unwrap(), sample());
        for kept in [Kept::Streamed, Kept::TooLarge] {
            let tombstone = StoredResponse { body: kept, ..sample() };
            assert_eq!(StoredResponse::decode(&tombstone.encode()).unwrap(), tombstone);
        }
    }

    #[test]
    fn a_newer_record_is_recognised_whatever_its_format() {
        let newer = Bytes::from_static(b"{\"ackonce-http\":2,what comes next is unknown");
        assert_eq!(StoredResponse::decode(&newer), Err(RecordError::Newer(2)));
    }

    #[test]
    fn a_tampered_record_is_refused() {
        let head = |headers: &str, status: u16, body: usize| {
            Bytes::from(format!(
                "{{\"ackonce-http\":1,\"status\":{status},\"headers\":{headers},\"body\":{body},\"window_ms\":1}}\nab"
            ))
        };
        assert!(StoredResponse::decode(&head("[]", 200, 2)).is_ok());
        for bad in [
            head("[]", 200, 1),
            head("[]", 200, 3),
            head("[]", 99, 2),
            head("[]", 101, 2),
            head(r#"[["x","a\r\nset-cookie: b"]]"#, 200, 2),
            head(r#"[["x y","a"]]"#, 200, 2),
            head(r#"[["X","a"]]"#, 200, 2),
            head(r#"[["x","\u0100"]]"#, 200, 2),
            Bytes::from_static(b""),
            Bytes::from_static(b"{\"ackonce-http\":0,"),
            Bytes::from_static(b"{\"ackonce-http\":1,"),
            Bytes::from_static(b"{\"ackonce-http\":99999999999999999999999,"),
        ] {
            assert!(matches!(StoredResponse::decode(&bad), Err(RecordError::Damaged(_))), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_answer_comes_back_to_the_byte(
            status in 200_u16..1000,
            headers in prop::collection::vec(("[a-z][a-z-]{0,8}", prop::collection::vec(any::<u8>(), 0..20)), 0..8),
            body in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
                }
            }
            let stored = StoredResponse {
                status: StatusCode::from_u16(status).unwrap(),
                headers: map,
                body: Kept::Whole(body.into()),
                window: Duration::from_millis(7),
            };
            let back = StoredResponse::decode(&stored.encode()).unwrap();
            prop_assert!(back.headers.iter().eq(stored.headers.iter()), "in the same order");
            prop_assert_eq!(back, stored);
        }

        #[test]
        fn no_record_panics(tail in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200, flip in 0_usize..200) {
            let _ = StoredResponse::decode(&[MAGIC, b"1,", &tail].concat().into());
            let mut bytes = sample().encode().to_vec();
            let at = flip % bytes.len();
            bytes[at] ^= 0x41;
            bytes.truncate(bytes.len() - cut % bytes.len());
            let _ = StoredResponse::decode(&bytes.into());
        }
    }
}
