//! The inner service's answer: read whole where it can be kept, passed on where it cannot.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ackonce::BoxError;
use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of an answer that came through the layer.
    #[project = Project]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProject]
    enum Kind<B> {
        /// Kept, replayed or the layer's own.
        Whole { #[pin] body: Full<Bytes> },
        /// Of a request that the layer has nothing to do with.
        Passed { #[pin] body: B },
        /// Too long or too slow to be kept: the part that was read already, then the rest.
        Resumed { read: VecDeque<Frame<Bytes>>, rest: Pin<Box<B>> },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn passed(body: B) -> Self {
        Self { kind: Kind::Passed { body } }
    }

    fn resumed(read: VecDeque<Frame<Bytes>>, rest: Pin<Box<B>>) -> Self {
        Self { kind: Kind::Resumed { read, rest } }
    }
}

impl<B> From<Bytes> for ResponseBody<B> {
    fn from(body: Bytes) -> Self {
        Self { kind: Kind::Whole { body: Full::new(body) } }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().kind.project() {
            KindProject::Whole { body } => body.poll_frame(cx).map_err(|never| match never {}),
            KindProject::Passed { body } => body.poll_frame(cx),
            KindProject::Resumed { read, rest } => match read.pop_front() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => rest.as_mut().poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole { body } => body.is_end_stream(),
            Kind::Passed { body } => body.is_end_stream(),
            Kind::Resumed { read, rest } => read.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole { body } => body.size_hint(),
            Kind::Passed { body } => body.size_hint(),
            Kind::Resumed { read, rest } => {
                let read: u64 = read.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
                let (mut hint, rest) = (SizeHint::new(), rest.size_hint());
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(read));
                }
                hint.set_lower(rest.lower().saturating_add(read));
                hint
            }
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Whole { .. } => "ResponseBody(whole)",
            Kind::Passed { .. } => "ResponseBody(passed on)",
            Kind::Resumed { .. } => "ResponseBody(streamed)",
        })
    }
}

/// The body of an answer, as far as it can be kept.
pub(crate) enum Gathered<B> {
    Whole(Bytes),
    /// It is made while it is sent.
    Streamed(ResponseBody<B>),
    TooLarge(ResponseBody<B>),
}

/// Reads a body of up to `max` bytes. One of unknown length is kept if it is all there, within `wait` where that is
/// given; if any of it has to be waited for longer, it is a stream, and its client must not wait for the end of it.
/// Server-sent events are always a stream, and so is a body with trailers.
pub(crate) async fn gather<B>(
    headers: &HeaderMap,
    body: B,
    max: usize,
    wait: Option<Duration>,
) -> Result<Gathered<B>, BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    if body.is_end_stream() {
        return Ok(Gathered::Whole(Bytes::new()));
    }
    let (max, hint) = (max as u64, body.size_hint());
    let mut body = Box::pin(body);
    let mut read = VecDeque::new();
    if hint.lower() > max {
        return Ok(Gathered::TooLarge(ResponseBody::resumed(read, body)));
    }
    if is_event_stream(headers) {
        return Ok(Gathered::Streamed(ResponseBody::resumed(read, body)));
    }
    let mut len = 0;
    // Made only for an answer that has to be waited for.
    let mut over = None;
    loop {
        let frame = match hint.exact() {
            Some(_) => next(&mut body).await,
            None => match (next(&mut body).now_or_never(), wait) {
                (Some(frame), _) => frame,
                (None, None) => return Ok(Gathered::Streamed(ResponseBody::resumed(read, body))),
                (None, Some(wait)) => {
                    let over = over.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
                    tokio::select! {
                        biased;
                        frame = next(&mut body) => frame,
                        () = over => return Ok(Gathered::Streamed(ResponseBody::resumed(read, body))),
                    }
                }
            },
        };
        let Some(frame) = frame.transpose()? else {
            return Ok(Gathered::Whole(join(read)));
        };
        let data = frame.data_ref().map(|data| data.len() as u64);
        // Most bodies are of one piece.
        if read.is_empty() && body.is_end_stream() && data.is_some_and(|len| len <= max) {
            return Ok(Gathered::Whole(frame.into_data().unwrap_or_default()));
        }
        read.push_back(frame);
        match data {
            None => return Ok(Gathered::Streamed(ResponseBody::resumed(read, body))),
            Some(more) => len += more,
        }
        if len > max {
            return Ok(Gathered::TooLarge(ResponseBody::resumed(read, body)));
        }
    }
}

async fn next<B>(body: &mut Pin<Box<B>>) -> Option<Result<Frame<Bytes>, BoxError>>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    body.frame().await.map(|frame| frame.map_err(Into::into))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    const NAME: &[u8] = b"text/event-stream";
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .split_at_checked(NAME.len())
            .is_some_and(|(start, _)| start.eq_ignore_ascii_case(NAME))
    })
}

fn join(mut frames: VecDeque<Frame<Bytes>>) -> Bytes {
    if frames.len() == 1 {
        return frames.pop_front().and_then(|frame| frame.into_data().ok()).unwrap_or_default();
    }
    frames.iter().filter_map(Frame::data_ref).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt, stream};
    use http::HeaderValue;
    use http_body_util::StreamBody;

    use super::*;

    type Chunks = Vec<Result<Frame<Bytes>, Infallible>>;

    fn chunks(texts: &[&'static str]) -> Chunks {
        texts.iter().map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))).collect()
    }

    async fn all<B: Body<Data = Bytes, Error = Infallible>>(body: ResponseBody<B>) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_that_is_all_there_is_kept() {
        let body = StreamBody::new(stream::iter(chunks(&["a", "bc", "d"])));
        assert!(
            matches!(gather(&HeaderMap::new(), body, 4, None).await.unwrap(), Gathered::Whole(all) if all == "abcd")
        );
    }

    #[tokio::test]
    async fn what_has_to_be_waited_for_or_is_too_long_goes_on_from_where_it_was_read() {
        let late = stream::once(async {
            tokio::task::yield_now().await;
            Ok(Frame::data(Bytes::from_static(b"later")))
        });
        let body = StreamBody::new(stream::iter(chunks(&["now "])).chain(late));
        let Gathered::Streamed(rest) = gather(&HeaderMap::new(), body, 99, None).await.unwrap() else {
            panic!()
        };
        assert_eq!(rest.size_hint().lower(), 4);
        assert_eq!(all(rest).await, "now later");

        let body = StreamBody::new(stream::iter(chunks(&["abc", "def", "g"])));
        let Gathered::TooLarge(rest) = gather(&HeaderMap::new(), body, 5, None).await.unwrap() else {
            panic!()
        };
        assert_eq!(all(rest).await, "abcdefg");
        let body = Full::new(Bytes::from_static(b"abcdef"));
        let Gathered::TooLarge(rest) = gather(&HeaderMap::new(), body, 5, None).await.unwrap() else {
            panic!()
        };
        assert_eq!(rest.size_hint().exact(), Some(6));
        assert_eq!(all(rest).await, "abcdef");
    }

    #[tokio::test]
    async fn events_and_trailers_are_streams() {
        let events = HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static("Text/Event-Stream;charset=utf-8"),
        )]);
        let body = StreamBody::new(stream::iter(chunks(&["data: 1\n\n"])));
        assert!(matches!(gather(&events, body, 99, None).await.unwrap(), Gathered::Streamed(_)));

        let mut with_trailers = chunks(&["a"]);
        with_trailers.push(Ok(Frame::trailers(HeaderMap::new())));
        let body = StreamBody::new(stream::iter(with_trailers));
        let Gathered::Streamed(rest) = gather(&HeaderMap::new(), body, 99, None).await.unwrap() else {
            panic!()
        };
        let collected = rest.collect().await.unwrap();
        assert!(collected.trailers().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_unknown_length_that_comes_in_time_can_be_waited_for() {
        let slow = |pause: u64| {
            let late = stream::iter(["later", " still"]).then(move |text| async move {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes())))
            });
            StreamBody::new(stream::iter(chunks(&["now "])).chain(late))
        };
        let (none, wait) = (HeaderMap::new(), Some(Duration::from_secs(5)));
        let Gathered::Whole(whole) = gather(&none, slow(2), 99, wait).await.unwrap() else { panic!() };
        assert_eq!(whole, "now later still");
        // All of it has to come in time; the part that has come by then goes on.
        let Gathered::Streamed(rest) = gather(&none, slow(3), 99, wait).await.unwrap() else { panic!() };
        assert_eq!(all(rest).await, "now later still");
        let Gathered::TooLarge(rest) = gather(&none, slow(2), 6, wait).await.unwrap() else { panic!() };
        assert_eq!(all(rest).await, "now later still");
    }
}
