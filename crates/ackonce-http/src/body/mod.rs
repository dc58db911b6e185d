//! A request's body, whole, within bounds.

mod budget;
mod read;
mod rest;
mod share;

use std::time::Duration;

use ackonce::BoxError;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};

pub use budget::Budget;
pub use read::Collected;
pub(crate) use rest::drop_rest;
pub use share::Share;

use crate::problem::{Problem, SOON};

/// The limits on one body.
///
/// ```
/// use std::time::Duration;
/// use ackonce_http::{Options, body::Limits};
/// // Uploads of up to 20 MiB; a client has two minutes for one.
/// let body = Limits { max_len: 20 << 20, timeout: Duration::from_secs(120), ..Limits::default() };
/// let options = Options::default().with_body(body);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes; default 1 MiB.
    pub max_len: usize,
    /// The longest it may take to arrive, all of it; default 30 s. A limit on each read would let a trickle
    /// hold its connection for hours.
    pub timeout: Duration,
    /// The most bytes of a refused body that are read and dropped, within the same time; default 16 MiB, zero for none.
    /// A client that is still writing when the connection is closed sees a broken connection instead of the
    /// answer ([RFC 9112, 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6)).
    pub max_rest: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_len: 1 << 20, timeout: Duration::from_secs(30), max_rest: 16 << 20 }
    }
}

/// The trailers of a request, which came behind its body; an extension of the request, since the body that the inner
/// service gets is whole and has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailers(pub HeaderMap);

/// Why a body could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is longer than [`Limits::max_len`], by its announcement or by its bytes.
    #[error("the body is over {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// The [`Budget`] for all bodies is used up.
    #[error("the bodies of all requests would be over {max} bytes")]
    NoRoom {
        /// The limit.
        max: usize,
    },
    /// It did not arrive within [`Limits::timeout`].
    #[error("the body did not arrive within {after:?}")]
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// The connection broke, or its framing did: fewer bytes than announced, a malformed chunk.
    #[error("the body could not be read")]
    Broken(#[source] BoxError),
}

/// The length by `Content-Length`.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// Makes a request's headers describe a body that is whole, of this many bytes: the framing of its transfer and the
/// announcement of trailers go, and `Content-Length` tells its length.
pub fn describe_whole(headers: &mut HeaderMap, len: usize) {
    let was_framed = headers.remove(TRANSFER_ENCODING).is_some();
    headers.remove(TRAILER);
    headers.remove(EXPECT);
    if announced(headers) != Some(len as u64)
        && (was_framed || len > 0 || headers.contains_key(CONTENT_LENGTH))
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
}

impl BodyError {
    /// The answer: 413, 503, 408 or 400.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::TooLarge { max } => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The request body is too large")
                    .with_detail(format!("At most {max} bytes are accepted. Send less, or ask for a higher limit."))
            }
            Self::NoRoom { .. } => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "The bodies of the requests in progress take all the memory they may",
            )
            .with_detail("Nothing was done. Send the same request again after Retry-After.")
            .with_retry_after(SOON),
            Self::TimedOut { after } => Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_timed_out",
                "The request body came too slowly",
            )
            .with_detail(format!(
                "It has to arrive within {} seconds. Nothing was done: send the same request again.",
                after.as_secs_f32()
            ))
            .with_header(CONNECTION, HeaderValue::from_static("close")),
            Self::Broken(_) => {
                Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", "The request body could not be read")
                    .with_detail(
                        "It ended before its announced length, or its chunks are malformed. Nothing was done: send the \
                         whole request again.",
                    )
            }
        }
    }
}
