//! A request's body, whole, within bounds.

use std::pin::pin;
use std::time::Duration;

use ackonce::BoxError;
use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::problem::Problem;

/// What a body may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes; default 1 MiB.
    pub max_len: usize,
    /// The longest it may take to arrive, all of it; default 30 s. A limit on each read would let a trickle
    /// hold its connection for hours.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_len: 1 << 20, timeout: Duration::from_secs(30) }
    }
}

/// Why a body could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than [`Limits::max_len`], by its announcement or by its bytes.
    #[error("the body is over {max} bytes")]
    TooLarge {
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
    #[error("the body could not be read: {0}")]
    Broken(#[source] BoxError),
}

/// Reads a body, whole. What counts are the bytes that arrive: a body that announces more than the limit is
/// refused unread, one that announces less or nothing (chunked) is refused where it passes the limit, and no
/// more than the limit is ever held.
///
/// ```
/// use ackonce_http::body::{BodyError, Limits, collect};
/// use http_body_util::Full;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let limits = Limits { max_len: 4, ..Limits::default() };
/// assert_eq!(collect(Full::new(&b"four"[..]), limits).await?, "four");
/// let refused = collect(Full::new(&b"fiver"[..]), limits).await;
/// assert!(matches!(refused, Err(BodyError::TooLarge { max: 4 })));
/// # Ok::<(), BodyError>(()) }).unwrap();
/// ```
///
/// # Errors
/// [`BodyError`], with a [`problem`](BodyError::problem) to answer. A client that hangs up is
/// [`Broken`](BodyError::Broken), or the future is dropped with its connection; nothing was claimed yet.
pub fn collect<B>(body: B, limits: Limits) -> impl Future<Output = Result<Bytes, BodyError>>
where
    B: Body<Data: Buf, Error: Into<BoxError>>,
{
    let too_large = body.size_hint().lower() > u64::try_from(limits.max_len).unwrap_or(u64::MAX);
    let whole = whole(Limited::new(body, limits.max_len));
    async move {
        if too_large {
            return Err(BodyError::TooLarge { max: limits.max_len });
        }
        tokio::select! {
            biased;
            whole = whole => whole.map_err(|error| match error.is::<LengthLimitError>() {
                true => BodyError::TooLarge { max: limits.max_len },
                false => BodyError::Broken(error),
            }),
            // A timer is made for what has to be waited for.
            () = async { Box::pin(tokio::time::sleep(limits.timeout)).await } => Err(BodyError::TimedOut { after: limits.timeout }),
        }
    }
}

async fn whole<B>(body: B) -> Result<Bytes, BoxError>
where
    B: Body<Data: Buf, Error = BoxError>,
{
    let mut body = pin!(body);
    let Some(first) = body.frame().await.transpose()? else { return Ok(Bytes::new()) };
    let first =
        first.into_data().map_or_else(|_| Bytes::new(), |mut data| data.copy_to_bytes(data.remaining()));
    // Most bodies are of one piece, which needs no copy.
    if body.is_end_stream() {
        return Ok(first);
    }
    let rest = body.collect().await?;
    Ok([first, rest.to_bytes()].concat().into())
}

/// Refuses by the `Content-Length` header what would be too large; for bodies behind wrappers that do not pass the
/// length on.
///
/// # Errors
/// [`BodyError::TooLarge`].
pub fn check_length(headers: &HeaderMap, limits: Limits) -> Result<(), BodyError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(len) if len > u64::try_from(limits.max_len).unwrap_or(u64::MAX) => {
            Err(BodyError::TooLarge { max: limits.max_len })
        }
        _ => Ok(()),
    }
}

impl BodyError {
    /// What to answer: 413, 408 or 400.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::TooLarge { max } => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The request body is too large")
                    .with_detail(format!("At most {max} bytes are accepted."))
            }
            Self::TimedOut { after } => Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_timed_out",
                "The request body came too slowly",
            )
            .with_detail(format!("It has to arrive within {} seconds.", after.as_secs_f32()))
            .with_header(CONNECTION, HeaderValue::from_static("close")),
            Self::Broken(_) => {
                Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", "The request body could not be read")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    const SMALL: Limits = Limits { max_len: 10, timeout: Duration::from_secs(5) };

    fn chunked(chunks: &[&'static str]) -> impl Body<Data = Bytes, Error = Infallible> {
        let frames: Vec<_> =
            chunks.iter().map(|c| Ok(Frame::data(Bytes::from_static(c.as_bytes())))).collect();
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test]
    async fn a_chunked_body_is_measured_by_its_bytes() {
        assert_eq!(collect(chunked(&["12345", "67890"]), SMALL).await.unwrap(), "1234567890");
        assert_eq!(collect(chunked(&[]), SMALL).await.unwrap(), "");
        let over = collect(chunked(&["12345", "67890", "1"]), SMALL).await;
        assert!(matches!(over, Err(BodyError::TooLarge { max: 10 })));
    }

    #[tokio::test]
    async fn a_body_that_announces_too_much_is_refused_unread() {
        struct Announces;
        impl Body for Announces {
            type Data = Bytes;
            type Error = Infallible;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
                panic!("it is not read")
            }
            fn size_hint(&self) -> http_body::SizeHint {
                http_body::SizeHint::with_exact(11)
            }
        }
        assert!(matches!(collect(Announces, SMALL).await, Err(BodyError::TooLarge { max: 10 })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_ends_with_the_time_for_all_of_it() {
        let trickle = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"."))), ()))
        });
        let slow = collect(StreamBody::new(Box::pin(trickle)), SMALL).await;
        assert!(matches!(slow, Err(BodyError::TimedOut { .. })));
        assert_eq!(slow.unwrap_err().problem().status(), 408);
    }

    #[tokio::test]
    async fn a_broken_body_is_the_clients_error() {
        let broken = stream::iter([Ok(Frame::data(Bytes::from_static(b"x"))), Err("reset")]);
        let error = collect(StreamBody::new(broken), SMALL).await.unwrap_err();
        assert_eq!(error.problem().status(), 400);
    }
}
