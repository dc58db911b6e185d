//! An answer whose body is the effect: kept with the record, given again to a repeat.

use std::time::Duration;

use ackonce::store::Record;
use ackonce::{BoxError, Key};
use ackonce_http::{Kept, StoredResponse};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use tokio::time::{Instant, timeout_at};

use crate::layer::WebhookBody;

enum Gathered {
    Whole(Bytes),
    Passed(WebhookBody),
}

/// A body of which all is there.
pub(crate) fn whole(body: Bytes) -> WebhookBody {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// The headers that describe a body; its length follows from it. Other headers of the first answer (cookies, rate limits, request
/// IDs) was true of that one.
fn content_headers(headers: &HeaderMap) -> HeaderMap {
    let content = |name: &HeaderName| name.as_str().starts_with("content-") && name != CONTENT_LENGTH;
    headers
        .iter()
        .filter(|(name, _)| content(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Limits on kept answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    /// The most bytes of a body; 0 keeps nothing.
    pub(crate) max: usize,
    /// The time limit for an answer's body, from its head on; a slower answer is passed on and not kept.
    pub(crate) patience: Duration,
    /// The length of time that an answer is kept.
    pub(crate) window: Duration,
}

impl Keep {
    /// The answer for the waiting sender, and the copy to keep: none if it has no body, is too long or comes slowly.
    ///
    /// # Errors
    /// The body broke off.
    pub(crate) async fn keep(
        self,
        response: Response<WebhookBody>,
        key: &Key,
    ) -> Result<(Response<WebhookBody>, Option<Bytes>), BoxError> {
        if self.max == 0 || response.body().is_end_stream() {
            return Ok((response, None));
        }
        let (head, body) = response.into_parts();
        let (body, kept) = match self.gather(body).await? {
            Gathered::Whole(body) if body.is_empty() => (whole(body), None),
            Gathered::Whole(body) => {
                let (status, headers) = (head.status, content_headers(&head.headers));
                let kept = Kept::Whole(body.clone());
                let stored = StoredResponse { status, headers, body: kept, window: self.window };
                (whole(body), Some(stored.encode()))
            }
            Gathered::Passed(body) => {
                tracing::warn!(target: "ackonce", scope = key.scope().name(), id = %key.id().escape_ascii(), max = self.max, within = ?self.patience,
                    "an answer is too long or too slow to be kept; a repeat will get an empty one (Webhook::with_kept_answer)");
                (body, None)
            }
        };
        Ok((Response::from_parts(head, body), kept))
    }

    /// Reads a body within the bounds. The part beyond them is passed on unread.
    async fn gather(self, mut body: WebhookBody) -> Result<Gathered, BoxError> {
        let until = Instant::now() + self.patience;
        let (mut read, mut len) = (Vec::new(), 0);
        while let Ok(frame) = timeout_at(until, body.frame()).await {
            let Some(frame) = frame.transpose()? else {
                let data = read.into_iter().filter_map(|frame: Frame<Bytes>| frame.into_data().ok());
                return Ok(Gathered::Whole(data.collect::<Vec<_>>().concat().into()));
            };
            // Trailers are passed on: they cannot be kept.
            len += frame.data_ref().map_or(usize::MAX, Bytes::len).min(usize::MAX - len);
            read.push(frame);
            if len > self.max {
                break;
            }
        }
        let read = stream::iter(read.into_iter().map(Ok));
        Ok(Gathered::Passed(StreamBody::new(read.chain(BodyStream::new(body))).boxed_unsync()))
    }

    /// The answer that the first delivery was given, if it was kept.
    pub(crate) fn kept(self, record: Option<&Record>) -> Option<Response<WebhookBody>> {
        // Handlers may keep outcomes of their own; those are no answers.
        let outcome = record?.outcome.as_ref().filter(|_| self.max > 0)?;
        let stored = StoredResponse::decode(outcome).ok()?;
        let Kept::Whole(body) = stored.body else { return None };
        let mut response = Response::new(whole(body));
        *response.status_mut() = stored.status;
        *response.headers_mut() = stored.headers;
        Some(response)
    }
}
