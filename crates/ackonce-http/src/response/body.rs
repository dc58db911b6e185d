//! The body of an answer: kept, passed on, or read in part and then passed on.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

pin_project! {
    /// The body of an answer that came through the layer.
    #[project = Project]
    pub struct ResponseBody<B> {
        #[pin]
        source: Source<B>,
    }
}

pin_project! {
    #[project = SourceProject]
    enum Source<B> {
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
        Self { source: Source::Passed { body } }
    }

    /// The frames that were read, then the rest.
    pub(super) fn resumed(read: VecDeque<Frame<Bytes>>, rest: Pin<Box<B>>) -> Self {
        Self { source: Source::Resumed { read, rest } }
    }
}

impl<B> From<Bytes> for ResponseBody<B> {
    fn from(body: Bytes) -> Self {
        Self { source: Source::Whole { body: Full::new(body) } }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().source.project() {
            SourceProject::Whole { body } => body.poll_frame(cx).map_err(|never| match never {}),
            SourceProject::Passed { body } => body.poll_frame(cx),
            SourceProject::Resumed { read, rest } => match read.pop_front() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => rest.as_mut().poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole { body } => body.is_end_stream(),
            Source::Passed { body } => body.is_end_stream(),
            Source::Resumed { read, rest } => read.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole { body } => body.size_hint(),
            Source::Passed { body } => body.size_hint(),
            Source::Resumed { read, rest } => {
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
        f.write_str(match self.source {
            Source::Whole { .. } => "ResponseBody(whole)",
            Source::Passed { .. } => "ResponseBody(passed on)",
            Source::Resumed { .. } => "ResponseBody(streamed)",
        })
    }
}
