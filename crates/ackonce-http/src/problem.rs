//! Refusals a program can read: `application/problem+json` (RFC 9457).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The wait before a repeat where nothing better is known.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// One refusal: a status, a name for programs, a sentence for people, and the way out of it.
///
/// Its body is `{"type","error","title","status","detail","retryable"}`: `error` is the name and `type` is
/// `urn:ackonce:problem:` before it. `retryable` says whether the same request may succeed later; then there
/// is a `Retry-After`, too. It is never cached.
///
/// ```
/// use std::time::Duration;
/// use ackonce_http::problem::Problem;
/// use http::{Response, StatusCode};
///
/// const FULL: Problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many requests are running");
/// let response: Response<bytes::Bytes> = FULL.with_retry_after(Duration::from_millis(1500)).into_response();
/// assert_eq!(response.status(), 503);
/// assert_eq!(response.headers()["retry-after"], "2", "whole seconds, rounded up");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    error: &'static str,
    title: &'static str,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem by its status, its name (`snake_case`) and its title, which is the same for every occurrence.
    #[must_use]
    pub const fn new(status: StatusCode, error: &'static str, title: &'static str) -> Self {
        Self { status, error, title, detail: None, retry_after: None, header: None }
    }

    /// The same, with the way out for the caller. It is shown to the caller: no internals, no secrets. Every problem
    /// of the layer has one.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same, worth repeating after this long: told in whole seconds, rounded up, at least one.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same, with one header more.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The name.
    #[must_use]
    pub fn error(&self) -> &'static str {
        self.error
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        #[derive(serde::Serialize)]
        struct Members<'a> {
            r#type: String,
            error: &'a str,
            title: &'a str,
            status: u16,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'a str>,
            retryable: bool,
        }
        let members = Members {
            r#type: format!("urn:ackonce:problem:{}", self.error),
            error: self.error,
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail.as_deref(),
            retryable: self.retry_after.is_some(),
        };
        // Text and numbers cannot fail to be written.
        serde_json::to_vec(&members).unwrap_or_default().into()
    }

    /// The response, with any body that bytes can be made into.
    #[must_use]
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(self.to_json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.error, self.title)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_json_that_a_program_can_read() {
        let problem = Problem::new(StatusCode::CONFLICT, "busy", "Busy").with_detail("a \"quote\"\n");
        let body: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(body["type"], "urn:ackonce:problem:busy");
        assert_eq!((&body["error"], &body["status"]), (&"busy".into(), &409.into()));
        assert_eq!((&body["detail"], &body["retryable"]), (&"a \"quote\"\n".into(), &false.into()));
        let response: Response<Bytes> = problem.into_response();
        assert_eq!(response.headers()[CONTENT_TYPE], MEDIA_TYPE);
        assert!(!response.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn a_wait_is_told_in_seconds_and_never_as_zero() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let problem = Problem::new(StatusCode::CONFLICT, "busy", "Busy");
            let response: Response<Bytes> =
                problem.with_retry_after(Duration::from_millis(millis)).into_response();
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
        }
    }
}
