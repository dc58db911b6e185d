//! The future of a request: the inner service's own, an answer that is there, or a guarded run.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use crate::response::ResponseBody;

type Guarded<B, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<B>>, E>> + Send>>;

pin_project! {
    /// The answer to a request.
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        answer: Inner<F, B, E>,
    }
}

pin_project! {
    #[project = Project]
    enum Inner<F, B, E> {
        Passed { #[pin] future: F },
        Refused { response: Option<Response<ResponseBody<B>>> },
        Guarded { future: Guarded<B, E> },
    }
}

impl<F, B, E> ResponseFuture<F, B, E> {
    pub(crate) fn passed(future: F) -> Self {
        Self { answer: Inner::Passed { future } }
    }

    pub(crate) fn refused(response: Response<ResponseBody<B>>) -> Self {
        Self { answer: Inner::Refused { response: Some(response) } }
    }

    pub(crate) fn guarded(
        future: impl Future<Output = Result<Response<ResponseBody<B>>, E>> + Send + 'static,
    ) -> Self {
        Self { answer: Inner::Guarded { future: Box::pin(future) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.project() {
            Project::Passed { future } => {
                Poll::Ready(ready!(future.poll(cx)).map(|response| response.map(ResponseBody::passed)))
            }
            // Polled again after it was ready, which nobody may, it waits.
            Project::Refused { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
            }
            Project::Guarded { future } => future.as_mut().poll(cx),
        }
    }
}

impl<F, B, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}
