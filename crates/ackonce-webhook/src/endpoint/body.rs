//! Bodies of answers.

use ackonce::BoxError;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

/// The body of an answer.
pub type WebhookBody = UnsyncBoxBody<Bytes, BoxError>;

/// A body of which all is there.
pub(super) fn whole(body: Bytes) -> WebhookBody {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// A 200 with this text, which may be empty.
pub(super) fn plain(text: &'static str) -> Response<WebhookBody> {
    let mut response = Response::new(whole(Bytes::from_static(text.as_bytes())));
    if !text.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    response
}
