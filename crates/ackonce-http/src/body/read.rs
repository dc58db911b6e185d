//! Reading a body, frame by frame.

use std::pin::pin;

use ackonce::BoxError;
use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;

use super::share::Share;
use super::{BodyError, Limits};

/// A body that was read, whole.
#[derive(Debug)]
pub struct Collected {
    /// All of it.
    pub bytes: Bytes,
    /// The headers behind it, if it had any.
    pub trailers: Option<HeaderMap>,
    /// Its part of its [`Budget`](super::Budget), until this is dropped.
    pub share: Share,
}

/// Not an `async fn`, which would hold its arguments twice.
pub(super) fn read<B>(
    body: B,
    announced: Option<u64>,
    limits: Limits,
    share: Share,
) -> impl Future<Output = Result<Collected, BodyError>>
where
    B: Body<Data: Buf, Error: Into<BoxError>>,
{
    let lower = body.size_hint().lower();
    let refused = match lower.max(announced.unwrap_or_default()) > limits.max_len as u64 {
        true => Err(BodyError::TooLarge { max: limits.max_len }),
        false => share.check(lower),
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
    loop {
        let frame = body.frame().await.transpose().map_err(|error| BodyError::Broken(error.into()))?;
        let Some(frame) = frame else { break };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        let more = data.remaining();
        len = len.saturating_add(more);
        if len > max {
            return Err(BodyError::TooLarge { max });
        }
        share.grow(more, max).await?;
        let piece = data.copy_to_bytes(more);
        // Most bodies are of one piece, which needs no copy.
        if pieces.is_empty() && body.is_end_stream() {
            share.shrink();
            return Ok(Collected { bytes: piece, trailers, share });
        }
        pieces.push(piece);
    }
    let bytes = if pieces.len() == 1 { pieces.pop().unwrap_or_default() } else { pieces.concat().into() };
    share.shrink();
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

    use super::super::Budget;
    use super::*;

    const SMALL: Limits = Limits { max_len: 10, timeout: Duration::from_secs(5), max_rest: 0 };

    fn frames(chunks: &[&'static str]) -> Vec<Result<Frame<Bytes>, Infallible>> {
        chunks.iter().map(|c| Ok(Frame::data(Bytes::from_static(c.as_bytes())))).collect()
    }

    fn chunked(chunks: &[&'static str]) -> impl Body<Data = Bytes, Error = Infallible> + Send + use<> {
        StreamBody::new(stream::iter(frames(chunks)))
    }

    /// Under a budget that is never used up.
    async fn collect<B>(body: B, limits: Limits) -> Result<Bytes, BodyError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        within(&Budget::new(usize::MAX), body, limits).await.map(|collected| collected.bytes)
    }

    fn within<B>(
        budget: &Budget,
        body: B,
        limits: Limits,
    ) -> impl Future<Output = Result<Collected, BodyError>> + Send + use<B>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        budget.collect(&HeaderMap::new(), body, limits)
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
        let no_room = within(&Budget::new(7), Announces, SMALL).await;
        assert!(matches!(no_room, Err(BodyError::NoRoom { max: 7 })));
    }

    #[tokio::test]
    async fn the_trailers_of_a_body_are_kept() {
        for chunks in [&["12", "34"][..], &["1234"]] {
            let mut with_trailers = frames(chunks);
            let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("e"))]);
            with_trailers.push(Ok(Frame::trailers(trailers.clone())));
            let body = StreamBody::new(stream::iter(with_trailers));
            let collected = within(&Budget::new(4), body, SMALL).await.unwrap();
            assert_eq!((&collected.bytes[..], collected.trailers), (&b"1234"[..], Some(trailers)));
        }
    }

    #[tokio::test]
    async fn a_budget_counts_the_bytes_that_are_held_and_no_others() {
        let budget = Budget::new(10);
        let first = within(&budget, chunked(&["123", "456"]), SMALL).await.unwrap();
        assert_eq!(budget.held(), 6);
        // Of a body that is refused midway nothing is held.
        let refused = within(&budget, chunked(&["123", "456"]), SMALL).await;
        assert!(matches!(refused, Err(BodyError::NoRoom { max: 10 })));
        assert_eq!(refused.unwrap_err().problem().status(), 503);
        assert_eq!(budget.held(), 6);
        let second = within(&budget, chunked(&["1234"]), SMALL).await.unwrap();
        assert_eq!(budget.held(), 10);
        drop((first, second));
        assert_eq!(budget.held(), 0);
        // Nor of one whose client has gone.
        let never = stream::iter(frames(&["123"]));
        let never = futures_util::StreamExt::chain(never, stream::pending());
        let mut left = Box::pin(within(&budget, StreamBody::new(never), SMALL));
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
