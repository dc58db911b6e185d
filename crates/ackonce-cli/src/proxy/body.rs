//! The bodies that pass through.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ackonce::BoxError;
use ackonce_http::body::Trailers;
use ackonce_http::edge::RequestUnderWay;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::Sleep;

/// The body of a request on its way to the upstream: passed on as it comes, or whole where the layer has read it.
pub struct ForwardBody(UnsyncBoxBody<Bytes, BoxError>);

impl ForwardBody {
    /// Passes on a body as it comes.
    pub fn passing<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self(body.map_err(Into::into).boxed_unsync())
    }

    /// The same with trailers behind it, which the layer keeps apart from a body that it has read.
    pub(super) fn with(self, trailers: Option<Trailers>) -> Self {
        match trailers {
            Some(Trailers(trailers)) => {
                Self(self.0.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed_unsync())
            }
            None => self,
        }
    }
}

impl From<Bytes> for ForwardBody {
    fn from(bytes: Bytes) -> Self {
        Self::passing(Full::new(bytes))
    }
}

impl Body for ForwardBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl fmt::Debug for ForwardBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForwardBody")
    }
}

/// The body of an answer: the upstream's, or the proxy's own.
#[derive(Debug)]
pub enum AnswerBody {
    /// The upstream's, with a limit on the wait for each piece of it.
    #[non_exhaustive]
    Upstream {
        /// As it comes.
        body: Incoming,
        /// The longest wait.
        limit: Duration,
        /// Made when it has to be waited for.
        over: Option<Pin<Box<Sleep>>>,
    },
    /// The proxy's own.
    Own(Full<Bytes>),
}

impl AnswerBody {
    pub(super) fn of_upstream(body: Incoming, limit: Duration) -> Self {
        Self::Upstream { body, limit, over: None }
    }
}

impl From<Bytes> for AnswerBody {
    fn from(bytes: Bytes) -> Self {
        Self::Own(Full::new(bytes))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Upstream { body, limit, over } => {
                if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
                    *over = None;
                    return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
                }
                let limit = *limit;
                let over = over.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                ready!(over.as_mut().poll(cx));
                let why = format!("the upstream sent nothing more for {limit:?} (--upstream-timeout)");
                Poll::Ready(Some(Err(why.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream { body, .. } => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream { body, .. } => body.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}

/// The body of an answer whose request is under way until it has been sent.
pub(super) struct Held<B> {
    body: B,
    _under_way: RequestUnderWay,
}

impl<B> Held<B> {
    pub(super) fn new(body: B, under_way: RequestUnderWay) -> Self {
        Self { body, _under_way: under_way }
    }
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
