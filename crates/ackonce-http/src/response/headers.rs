//! Which headers of an answer are kept and replayed.

use std::fmt;
use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, PROXY_AUTHENTICATE, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName};

/// Which headers of an answer are replayed. Those of the connection, `Date` and the layer's own never are, and
/// `Set-Cookie` is a matter of [`Cookies`].
#[derive(Clone, Default)]
pub struct Headers(Choice);

#[derive(Clone, Default)]
enum Choice {
    #[default]
    Lasting,
    All,
    By(Arc<dyn Fn(&HeaderName) -> bool + Send + Sync>),
}

impl Headers {
    /// All but those that describe one exchange, which would be wrong on a repeat. The default. Left out are request IDs
    /// (`X-Request-Id`, `X-Correlation-Id`, `Request-Id`, those of cloud providers), traces (`Traceparent`, `Tracestate`,
    /// `Traceresponse`, `B3`, `X-B3-…`, `X-Datadog-…`), timings (`Server-Timing`, `X-Runtime`, `X-Response-Time`) and rate
    /// limits (`RateLimit…`, `X-RateLimit…`, `X-Rate-Limit-…`).
    #[must_use]
    pub fn lasting() -> Self {
        Self(Choice::Lasting)
    }

    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self(Choice::All)
    }

    /// Those of which this is true, by their names in lower case.
    ///
    /// ```
    /// use ackonce_http::{Headers, Options};
    /// let lasting = Headers::lasting();
    /// let headers = Headers::by(move |name| lasting.contains(name) && name != "x-served-by");
    /// let options = Options::default().with_headers(headers);
    /// ```
    #[must_use]
    pub fn by(replayed: impl Fn(&HeaderName) -> bool + Send + Sync + 'static) -> Self {
        Self(Choice::By(Arc::new(replayed)))
    }

    /// True if a header is replayed.
    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        match &self.0 {
            Choice::Lasting => !is_of_one_exchange(name.as_str()),
            Choice::All => true,
            Choice::By(replayed) => replayed(name),
        }
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Choice::Lasting => "Headers(lasting)",
            Choice::All => "Headers(all)",
            Choice::By(_) => "Headers(custom)",
        })
    }
}

fn is_of_one_exchange(name: &str) -> bool {
    const NAMES: [&str; 34] = [
        "age",
        "b3",
        "baggage",
        "cf-cache-status",
        "cf-ray",
        "correlation-id",
        "fly-request-id",
        "request-id",
        "sentry-trace",
        "server-timing",
        "traceparent",
        "traceresponse",
        "tracestate",
        "uber-trace-id",
        "via",
        "x-amz-cf-id",
        "x-amz-cf-pop",
        "x-amz-id-2",
        "x-amz-request-id",
        "x-amzn-requestid",
        "x-amzn-trace-id",
        "x-cache",
        "x-cache-hits",
        "x-cloud-trace-context",
        "x-correlation-id",
        "x-envoy-upstream-service-time",
        "x-ms-request-id",
        "x-request-id",
        "x-response-time",
        "x-runtime",
        "x-served-by",
        "x-timer",
        "x-trace-id",
        "x-vercel-id",
    ];
    const PREFIXES: [&str; 5] = ["ratelimit", "x-b3-", "x-datadog-", "x-rate-limit-", "x-ratelimit"];
    // Most names are none of these by their first letter.
    matches!(
        name.as_bytes().first(),
        Some(b'a' | b'b' | b'c' | b'f' | b'r' | b's' | b't' | b'u' | b'v' | b'x')
    ) && (NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// The treatment of `Set-Cookie` in kept answers.
///
/// Keep cookies only where a client of one key is always one session: every caller that repeats the request gets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cookies {
    /// No: a cookie belongs to the session it was set in. The default.
    #[default]
    Dropped,
    /// Yes.
    Kept,
}

/// Which headers of an answer are kept: all but those of the connection, `Date`, those that the layer adds itself, and by
/// the options cookies and those of one exchange.
pub(crate) fn kept(
    headers: &HeaderMap,
    cookies: Cookies,
    replayed: &Headers,
    body_is_empty: bool,
) -> impl Fn(&HeaderName) -> bool {
    let named: Vec<&str> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(',').map(str::trim))
        .collect();
    move |name| match *name {
        CONNECTION | PROXY_AUTHENTICATE | TE | TRAILER | TRANSFER_ENCODING | UPGRADE | DATE => false,
        // It follows from the body; but a 304 and an answer to HEAD tell the length of one that is not there.
        CONTENT_LENGTH => body_is_empty,
        SET_COOKIE => cookies == Cookies::Kept,
        _ => {
            let text = name.as_str();
            !OURS.contains(&text)
                && !named.iter().any(|hop| hop.eq_ignore_ascii_case(text))
                && replayed.contains(name)
        }
    }
}

/// Hop-by-hop headers without a constant of their own, and those that the layer adds itself.
const OURS: [&str; 5] = [
    "keep-alive",
    "proxy-connection",
    "idempotency-key",
    "idempotent-replayed",
    "idempotency-replay-unavailable",
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn names(
        all: &[(&'static str, &'static str)],
        cookies: Cookies,
        replayed: &Headers,
        empty: bool,
    ) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let kept = kept(&headers, cookies, replayed, empty);
        headers.iter().filter(|(name, _)| kept(name)).map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn headers_of_the_connection_the_date_and_cookies_are_not_kept() {
        let all = [
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("date", "now"),
            ("set-cookie", "a=1; Expires=Wed, 21 Oct"),
            ("set-cookie", "b=2"),
            ("content-length", "5"),
            ("idempotent-replayed", "true"),
            ("idempotency-replay-unavailable", "streamed"),
            ("idempotency-key", "k"),
            ("upgrade", "h2c"),
            ("etag", "\"e\""),
        ];
        let headers = Headers::all();
        assert_eq!(names(&all, Cookies::Dropped, &headers, false), ["etag"]);
        assert_eq!(
            names(&all, Cookies::Kept, &headers, true),
            ["set-cookie", "set-cookie", "content-length", "etag"]
        );
    }

    #[test]
    fn headers_of_one_exchange_are_not_kept_unless_asked_for() {
        let all = [
            ("x-request-id", "1"),
            ("x-correlation-id", "1"),
            ("cf-ray", "1"),
            ("traceparent", "1"),
            ("x-b3-traceid", "1"),
            ("server-timing", "1"),
            ("ratelimit", "1"),
            ("ratelimit-remaining", "1"),
            ("x-ratelimit-reset", "1"),
            ("x-rate-limit-limit", "1"),
            ("retry-after", "1"),
            ("x-request", "1"),
            ("location", "/1"),
        ];
        let some = |headers: &Headers| names(&all, Cookies::Dropped, headers, false);
        assert_eq!(some(&Headers::default()), ["retry-after", "x-request", "location"]);
        assert_eq!(some(&Headers::all()).len(), all.len());
        assert_eq!(some(&Headers::by(|name| name == "cf-ray")), ["cf-ray"]);
    }
}
