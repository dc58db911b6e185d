//! Reading a body, frame by frame.

use std::pin::pin;

use ackonce::BoxError;
use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;

use super::{BodyError, Budget, Limits, Share};

/// A body that was read, whole.
#[derive(Debug)]
pub struct Collected {
    /// All of it.
    pub bytes: Bytes,
    /// The headers behind it, if it had any.
    pub trailers: Option<HeaderMap>,
    /// Its part of its [`Budget`], until this is dropped.
    pub share: Share,
}

/// Reads a body, whole. The bytes that arrive are counted: a body that announces more than the limit is
/// refused unread, one that announces less or nothing (chunked) is refused where it passes the limit, and no
/// more than the limit is ever held. Trailers are dropped; [`Budget::collect`] keeps them.
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
pub async fn collect<B>(body: B, limits: Limits) -> Result<Bytes, BodyError>
where
    B: Body<Data: Buf, Error: Into<BoxError>>,
{
    Budget::new(usize::MAX).collect(body, limits).await.map(|collected| collected.bytes)
}

/// Not an `async fn`, which would hold its arguments twice.
pub(super) fn read<B>(
    body: B,
    limits: Limits,
    share: Share,
) -> impl Future<Output = Result<Collected, BodyError>>
where
    B: Body<Data: Buf, Error: Into<BoxError>>,
{
    let announced = body.size_hint().lower();
    let refused = match announced > limits.max_len as u64 {
        true => Err(BodyError::TooLarge { max: limits.max_len }),
        false => share.check(announced),
    };
    let whole = whole(body, limits.max_len, share);
    async move {
        refused?;
        tokio::select! {
            biased;
            whole = whole => whole,
            // A timer is made only for a body that has to be waited for.
            () = async { Box::pin(tokio::time::sleep(limits.timeout)).await } => Err(BodyError::TimedOut { after: limits.timeout }),
        }
    }
}

async fn whole<B>(body: B, max: usize, mut share: Share) -> Result<Collected, BodyError>
where
    B: Body<Data: Buf, Error: Into<BoxError>>,
{
    let mut body = pin!(body);
    let (mut pieces, mut len, mut trailers) = (Vec::new(), 0_usize, None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| BodyError::Broken(error.into()))?.into_data() {
            Ok(mut data) => {
                let more = data.remaining();
                len = len.saturating_add(more);
                if len > max {
                    return Err(BodyError::TooLarge { max });
                }
                share.grow(more)?;
                let piece = data.copy_to_bytes(more);
                // Most bodies are of one piece, which needs no copy.
                if pieces.is_empty() && body.is_end_stream() {
                    return Ok(Collected { bytes: piece, trailers, share });
                }
                pieces.push(piece);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let bytes = if pieces.len() == 1 { pieces.pop().unwrap_or_default() } else { pieces.concat().into() };
    Ok(Collected { bytes, trailers, share })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::stream;
    use http::HeaderValue;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    const SMALL: Limits = Limits { max_len: 10, timeout: Duration::from_secs(5), max_rest: 0 };

    fn frames(chunks: &[&'static str]) -> Vec<Result<Frame<Bytes>, Infallible>> {
        chunks.iter().map(|c| Ok(Frame::data(Bytes::from_static(c.as_bytes())))).collect()
    }

    fn chunked(chunks: &[&'static str]) -> impl Body<Data = Bytes, Error = Infallible> + use<> {
        StreamBody::new(stream::iter(frames(chunks)))
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
                http_body::SizeHint::with_exact(8)
            }
        }
        let limits = Limits { max_len: 7, ..SMALL };
        assert!(matches!(collect(Announces, limits).await, Err(BodyError::TooLarge { max: 7 })));
        let no_room = Budget::new(7).collect(Announces, SMALL).await;
        assert!(matches!(no_room, Err(BodyError::NoRoom { max: 7 })));
    }

    #[tokio::test]
    async fn the_trailers_of_a_body_are_kept() {
        for chunks in [&["12", "34"][..], &["1234"]] {
            let mut with_trailers = frames(chunks);
            let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("e"))]);
            with_trailers.push(Ok(Frame::trailers(trailers.clone())));
            let body = StreamBody::new(stream::iter(with_trailers));
            let collected = Budget::new(4).collect(body, SMALL).await.unwrap();
            assert_eq!((&collected.bytes[..], collected.trailers), (&b"1234"[..], Some(trailers)));
        }
    }

    #[tokio::test]
    async fn a_budget_counts_the_bytes_that_are_held_and_no_others() {
        let budget = Budget::new(10);
        let first = budget.collect(chunked(&["123", "456"]), SMALL).await.unwrap();
        assert_eq!(budget.held(), 6);
        // Of a body that is refused midway nothing is held.
        let refused = budget.collect(chunked(&["123", "456"]), SMALL).await;
        assert!(matches!(refused, Err(BodyError::NoRoom { max: 10 })));
        assert_eq!(refused.unwrap_err().problem().status(), 503);
        assert_eq!(budget.held(), 6);
        let second = budget.collect(chunked(&["1234"]), SMALL).await.unwrap();
        assert_eq!(budget.held(), 10);
        drop((first, second));
        assert_eq!(budget.held(), 0);
        // Nor of one whose client has gone.
        let never = stream::iter(frames(&["123"]));
        let never = futures_util::StreamExt::chain(never, stream::pending());
        let mut left = Box::pin(budget.collect(StreamBody::new(never), SMALL));
        assert!(futures_util::poll!(&mut left).is_pending());
        assert_eq!(budget.held(), 3);
        drop(left);
        assert_eq!(budget.held(), 0);
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
