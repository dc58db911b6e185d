//! The meaning of an answer for its operation.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::response::REPLAYED;

/// The meaning of an answer for its operation, by status and headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// It was run for this request.
    Fresh,
    /// It was run for an earlier one, and this is the answer to that one. To send it again changes nothing, be it a
    /// success or a failure.
    Replayed,
    /// 409 with `Retry-After`: an earlier request is in progress; come again.
    InProgress {
        /// The time to wait.
        retry_after: Duration,
    },
    /// 422: the key was used with another request body, or the request is not acceptable as it is.
    Unprocessable,
    /// 429, 502, 503, 504, or another 5xx or 408 that was not replayed: it may succeed if it is sent again with its key.
    Unavailable {
        /// The time to wait, if the server says.
        retry_after: Option<Duration>,
    },
}

impl AnswerKind {
    /// The meaning of this answer.
    ///
    /// ```
    /// use ackonce_http::client::AnswerKind;
    /// use http::{HeaderMap, StatusCode};
    /// assert_eq!(AnswerKind::of(StatusCode::CREATED, &HeaderMap::new()), AnswerKind::Fresh);
    /// ```
    #[must_use]
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        if headers.get(REPLAYED).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true")) {
            return Self::Replayed;
        }
        let retry_after = retry_after(headers);
        match (status, retry_after) {
            (StatusCode::CONFLICT, Some(retry_after)) => Self::InProgress { retry_after },
            (StatusCode::UNPROCESSABLE_ENTITY, _) => Self::Unprocessable,
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT, _) => {
                Self::Unavailable { retry_after }
            }
            (status, _) if status.is_server_error() => Self::Unavailable { retry_after },
            _ => Self::Fresh,
        }
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> AnswerKind {
        let headers = headers
            .iter()
            .map(|(n, v)| (http::HeaderName::from_static(n), HeaderValue::from_str(v).unwrap()));
        AnswerKind::of(StatusCode::from_u16(status).unwrap(), &headers.collect())
    }

    #[test]
    fn statuses_retry_after_and_the_replay_header_are_understood() {
        let second = Duration::from_secs(1);
        for (status, headers, expected) in [
            (201, &[][..], AnswerKind::Fresh),
            (402, &[], AnswerKind::Fresh),
            (500, &[("idempotent-replayed", "true")], AnswerKind::Replayed),
            (409, &[("retry-after", "1")], AnswerKind::InProgress { retry_after: second }),
            (409, &[], AnswerKind::Fresh),
            (422, &[], AnswerKind::Unprocessable),
            (503, &[("retry-after", "1")], AnswerKind::Unavailable { retry_after: Some(second) }),
            (
                503,
                &[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")],
                AnswerKind::Unavailable { retry_after: Some(Duration::ZERO) },
            ),
            (503, &[("retry-after", "soon")], AnswerKind::Unavailable { retry_after: None }),
            (503, &[("retry-after", "-1")], AnswerKind::Unavailable { retry_after: None }),
        ] {
            assert_eq!(answer(status, headers), expected, "{status} {headers:?}");
        }
    }
}
