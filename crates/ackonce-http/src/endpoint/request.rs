//! A request on its way in: its head, and its body once that is whole.

use bytes::Bytes;
use http::Request;
use http::request::Parts;

use crate::body::{Collected, Share, Trailers, describe_whole};

/// A request whose body is there, or will be.
pub(crate) struct GuardedRequest {
    head: Parts,
    body: Bytes,
    /// The body's part of the budget.
    share: Option<Share>,
}

impl GuardedRequest {
    pub(crate) fn new(head: Parts) -> Self {
        Self { head, body: Bytes::new(), share: None }
    }

    /// Its body has arrived. The head then describes a body that is whole and has no trailers behind it.
    pub(crate) fn complete(&mut self, collected: Collected) {
        let Collected { bytes, trailers, share } = collected;
        describe_whole(&mut self.head.headers, bytes.len());
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
