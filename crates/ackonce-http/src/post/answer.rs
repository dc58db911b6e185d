//! The meaning of an HTTP service's answer.

use std::time::{Duration, SystemTime};

use ackonce::Failure;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use super::text::excerpt;

/// The longest pause that a service may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// The part of an answer's body that stands in a reason, in characters.
const EXCERPT: usize = 200;

/// 2xx is done. 429, 502, 503 and 504 say that something else is down or busy: no attempt counts. 408, 409, 425, other 5xx,
/// and redirections, which are not followed, count as attempts. Everything else will be answered the same again.
pub(super) fn answer_of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let text = excerpt(body, EXCERPT);
    let reason = match text.is_empty() {
        true => format!("the service answered {status}"),
        false => format!("the service answered {status}: {text}"),
    };
    let failure = match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Failure::infrastructure(reason),
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY => {
            Failure::Retry(reason.into())
        }
        _ if status.is_client_error() => return Err(Failure::permanent(reason)),
        _ => Failure::Retry(reason.into()),
    };
    Err(match retry_after(headers, SystemTime::now()) {
        Some(pause) => failure.not_before(pause),
        None => failure,
    })
}

/// `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3), an hour at most.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_status_has_one_next_step() {
        let step = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            match answer_of(status, &HeaderMap::new(), b"") {
                Ok(()) => "done",
                Err(Failure::Retry(_)) => "retry",
                Err(Failure::Infrastructure(_)) => "down",
                Err(Failure::Permanent(_)) => "bury",
                Err(_) => "other",
            }
        };
        for (statuses, next) in [
            (&[200, 201, 202, 204, 299][..], "done"),
            (&[429, 502, 503, 504], "down"),
            (&[301, 307, 408, 409, 425, 500, 501, 599], "retry"),
            (&[400, 401, 403, 404, 410, 413, 422, 499], "bury"),
        ] {
            for status in statuses {
                assert_eq!(step(*status), next, "{status}");
            }
        }
    }

    #[test]
    fn a_pause_is_honoured_up_to_an_hour() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let pause = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, now).map(|pause| pause.as_secs())
        };
        assert_eq!(pause("7"), Some(7));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:07 GMT"), Some(0), "it is over");
        assert_eq!(pause("99999999"), Some(3600));
        assert_eq!((pause("soon"), pause("-1")), (None, None));
    }

    #[test]
    fn a_reason_has_the_status_and_the_beginning_of_the_body() {
        let failure =
            answer_of(StatusCode::UNPROCESSABLE_ENTITY, &HeaderMap::new(), b"no\namount").unwrap_err();
        assert_eq!(failure.to_string(), "the service answered 422 Unprocessable Entity: no amount");
    }
}
