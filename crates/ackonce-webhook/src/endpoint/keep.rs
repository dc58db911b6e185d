//! An answer whose body is the effect: kept with the record, given again to a repeat.

use std::time::Duration;

use ackonce::store::Record;
use ackonce::{BoxError, Key};
use ackonce_http::{Kept, StoredResponse};
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, Response};
use http_body::Body;
use http_body_util::{BodyExt, BodyStream, StreamBody};

use super::body::{WebhookBody, whole};

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
    pub(crate) wait: Duration,
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
        // Its length is hidden, because a body of known length would be waited for without a limit.
        let body = StreamBody::new(BodyStream::new(body));
        let (body, kept) = Kept::read(&head.headers, body, self.max, Some(self.wait)).await?;
        let record = match kept {
            Kept::Whole(body) if body.is_empty() => None,
            Kept::Whole(_) => {
                let (status, headers) = (head.status, content_headers(&head.headers));
                Some(StoredResponse { status, headers, body: kept, window: self.window }.encode())
            }
            Kept::Streamed | Kept::TooLarge => {
                tracing::warn!(target: "ackonce", scope = key.scope().name(), id = %key.id().escape_ascii(), max = self.max, within = ?self.wait,
                    "an answer is too long or too slow to be kept; a repeat will get an empty one (Webhook::with_kept_answer)");
                None
            }
        };
        Ok((Response::from_parts(head, body.boxed_unsync()), record))
    }

    /// The answer that the first delivery was given, if it was kept.
    pub(crate) fn kept(self, record: Option<&Record>) -> Option<Response<WebhookBody>> {
        // Handlers may keep outcomes of their own; those are no answers.
        let outcome = record?.outcome.as_ref().filter(|_| self.max > 0)?;
        let stored = StoredResponse::decode(outcome).ok()?;
        Some(stored.into_response().ok()?.map(whole))
    }
}
