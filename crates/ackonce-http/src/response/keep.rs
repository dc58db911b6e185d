//! Reading an answer's body as far as it can be kept.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use ackonce::BoxError;
use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use super::body::ResponseBody;
use super::stored::Kept;

impl Kept {
    /// Reads an answer's body of up to `max` bytes: the body to pass on, and the body to keep.
    ///
    /// A body of unknown length is kept if all of it is there, within `wait` where that is given; if any of it has to be
    /// waited for longer, it is a stream, and its client must not wait for the end of it. Server-sent events are
    /// always a stream, and so is a body with trailers.
    ///
    /// ```
    /// use ackonce_http::Kept;
    /// use bytes::Bytes;
    /// use http::HeaderMap;
    /// use http_body_util::Full;
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let (_, kept) = Kept::read(&HeaderMap::new(), Full::new(Bytes::from("paid")), 10, None).await?;
    /// assert_eq!(kept, Kept::Whole("paid".into()));
    /// let (_passed_on, kept) = Kept::read(&HeaderMap::new(), Full::new(Bytes::from("paid")), 3, None).await?;
    /// assert_eq!(kept, Kept::TooLarge);
    /// # Ok::<(), ackonce::BoxError>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The body broke off.
    pub async fn read<B>(
        headers: &HeaderMap,
        body: B,
        max: usize,
        wait: Option<Duration>,
    ) -> Result<(ResponseBody<B>, Self), BoxError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        if body.is_end_stream() {
            return Ok(whole(Bytes::new()));
        }
        let (max, hint) = (max as u64, body.size_hint());
        let mut body = Box::pin(body);
        let (mut read, mut len) = (VecDeque::new(), 0);
        // Made only for an answer that has to be waited for.
        let mut over = None;
        let kept = loop {
            if hint.lower() > max || len > max {
                break Self::TooLarge;
            }
            if is_event_stream(headers) {
                break Self::Streamed;
            }
            let frame = match hint.exact() {
                Some(_) => next(&mut body).await,
                None => match (next(&mut body).now_or_never(), wait) {
                    (Some(frame), _) => frame,
                    (None, None) => break Self::Streamed,
                    (None, Some(wait)) => {
                        let over = over.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
                        tokio::select! {
                            biased;
                            frame = next(&mut body) => frame,
                            () = over => break Self::Streamed,
                        }
                    }
                },
            };
            let Some(frame) = frame.transpose()? else { return Ok(whole(join(read))) };
            let data = frame.data_ref().map(|data| data.len() as u64);
            // Most bodies are of one piece.
            if read.is_empty() && body.is_end_stream() && data.is_some_and(|len| len <= max) {
                return Ok(whole(frame.into_data().unwrap_or_default()));
            }
            read.push_back(frame);
            match data {
                None => break Self::Streamed,
                Some(more) => len += more,
            }
        };
        Ok((ResponseBody::resumed(read, body), kept))
    }
}

fn whole<B>(body: Bytes) -> (ResponseBody<B>, Kept) {
    (body.clone().into(), Kept::Whole(body))
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
    use http_body_util::{Full, StreamBody};

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
        let (_, kept) = Kept::read(&HeaderMap::new(), body, 4, None).await.unwrap();
        assert_eq!(kept, Kept::Whole("abcd".into()));
    }

    #[tokio::test]
    async fn what_has_to_be_waited_for_or_is_too_long_goes_on_from_where_it_was_read() {
        let late = stream::once(async {
            tokio::task::yield_now().await;
            Ok(Frame::data(Bytes::from_static(b"later")))
        });
        let body = StreamBody::new(stream::iter(chunks(&["now "])).chain(late));
        let (rest, kept) = Kept::read(&HeaderMap::new(), body, 99, None).await.unwrap();
        assert_eq!(kept, Kept::Streamed);
        assert_eq!(rest.size_hint().lower(), 4);
        assert_eq!(all(rest).await, "now later");

        let body = StreamBody::new(stream::iter(chunks(&["abc", "def", "g"])));
        let (rest, kept) = Kept::read(&HeaderMap::new(), body, 5, None).await.unwrap();
        assert_eq!(kept, Kept::TooLarge);
        assert_eq!(all(rest).await, "abcdefg");
        let body = Full::new(Bytes::from_static(b"abcdef"));
        let (rest, kept) = Kept::read(&HeaderMap::new(), body, 5, None).await.unwrap();
        assert_eq!(kept, Kept::TooLarge);
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
        assert_eq!(Kept::read(&events, body, 99, None).await.unwrap().1, Kept::Streamed);

        let mut with_trailers = chunks(&["a"]);
        with_trailers.push(Ok(Frame::trailers(HeaderMap::new())));
        let body = StreamBody::new(stream::iter(with_trailers));
        let (rest, kept) = Kept::read(&HeaderMap::new(), body, 99, None).await.unwrap();
        assert_eq!(kept, Kept::Streamed);
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
        let (_, whole) = Kept::read(&none, slow(2), 99, wait).await.unwrap();
        assert_eq!(whole, Kept::Whole("now later still".into()));
        // All of it has to come in time; the part that has come by then goes on.
        let (rest, kept) = Kept::read(&none, slow(3), 99, wait).await.unwrap();
        assert_eq!(kept, Kept::Streamed);
        assert_eq!(all(rest).await, "now later still");
        let (rest, kept) = Kept::read(&none, slow(2), 6, wait).await.unwrap();
        assert_eq!(kept, Kept::TooLarge);
        assert_eq!(all(rest).await, "now later still");
    }
}
