//! A request on its way in: its head, and its body once that is whole.

use ackonce::BoxError;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, TRAILER, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Request};
use http_body::Body;

use crate::body::{
    BodyError, Budget, Collected, Limits, Share, Trailers, announced, drop_sent, waits_for_continue,
};

/// A request whose body is there, or will be.
pub(crate) struct Incoming {
    head: Parts,
    body: Bytes,
    /// The body's part of the budget.
    share: Option<Share>,
}

impl Incoming {
    pub(crate) fn new(head: Parts) -> Self {
        Self { head, body: Bytes::new(), share: None }
    }

    /// Its body has arrived. The head then describes a body that is whole and has no trailers behind it.
    pub(crate) fn complete(&mut self, collected: Collected) {
        let Collected { bytes, trailers, share } = collected;
        let headers = &mut self.head.headers;
        let was_framed = headers.remove(TRANSFER_ENCODING).is_some();
        headers.remove(TRAILER);
        headers.remove(EXPECT);
        let len = bytes.len() as u64;
        if announced(headers) != Some(len) && (was_framed || len > 0 || headers.contains_key(CONTENT_LENGTH))
        {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
        }
        if let Some(trailers) = trailers {
            self.head.extensions.insert(Trailers(trailers));
        }
        (self.body, self.share) = (bytes, Some(share));
    }

    pub(crate) fn head(&self) -> &Parts {
        &self.head
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// The request, and its body's part of the budget.
    pub(crate) fn into_request<Q: From<Bytes>>(self) -> (Request<Q>, Option<Share>) {
        (Request::from_parts(self.head, self.body.into()), self.share)
    }
}

/// Reads the body of a request. The rest of one that is refused midway is dropped beside the answer.
pub(crate) fn collect<Q>(
    head: &Parts,
    body: Q,
    limits: Limits,
    budget: &Budget,
) -> impl Future<Output = Result<Collected, BodyError>> + Send + use<Q>
where
    Q: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let is_on_its_way = !waits_for_continue(&head.headers);
    let mut body = Box::pin(body);
    let budget = budget.clone();
    async move {
        let collected = budget.collect(body.as_mut(), limits).await;
        if let Err(BodyError::TooLarge { .. } | BodyError::NoRoom { .. }) = collected
            && is_on_its_way
        {
            drop_sent(body, limits);
        }
        collected
    }
}
