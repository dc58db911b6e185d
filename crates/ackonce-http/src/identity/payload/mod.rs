//! When two payloads are the same.

mod form;
mod json;
mod multipart;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ackonce::store::Fingerprint;
use http::header::CONTENT_TYPE;
use http::request::Parts;

/// When the payloads of two requests with one key are the same: a repeat with another payload is answered 422 rather than
/// replayed. Method and target are in the key already, and headers do not count.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Payload {
    /// If they say the same by their `Content-Type`, however they were written. The default.
    ///
    /// | | makes no difference |
    /// |---|---|
    /// | `application/json`, `…+json` | as for [`CanonicalJson`](Self::CanonicalJson) |
    /// | `multipart/…` | the boundary, which clients draw anew for each attempt |
    /// | `application/x-www-form-urlencoded` | the order of names |
    /// | the query | the order of names |
    ///
    /// Values of one name keep their order, and a body that is not strictly of its type is compared by its bytes.
    #[default]
    Canonical,
    /// If they are the same JSON, under any `Content-Type`, in any order of members and with any white space. Numbers are
    /// compared as they are written: `1.0` is not `1`, and none loses digits. Bytes that are not JSON, repeat a member
    /// or are nested more than 64 deep are compared as they are. The query as in [`Canonical`](Self::Canonical).
    CanonicalJson,
    /// If body and query are the same bytes.
    Bytes,
    /// By a function of yours; see [`by`](Self::by).
    By(Arc<FingerprintOf>),
}

/// A fingerprint of the head and the body of a request.
pub type FingerprintOf = dyn Fn(&Parts, &[u8]) -> Fingerprint + Send + Sync;

impl Payload {
    /// By a function of yours, for requests that carry something that changes with each attempt: a client's time stamp, a
    /// compressed body, a signature. Only the parts that it makes the fingerprint of are compared, the query
    /// included. Two requests that it takes for the same are replayed to each other, so leave out the changing part and
    /// nothing else.
    ///
    /// ```
    /// use ackonce::store::Fingerprint;
    /// use ackonce_http::{Options, Payload};
    /// // The same JSON but for the member `sent_at`.
    /// let payload = Payload::by(|parts, body| {
    ///     let Ok(serde_json::Value::Object(mut order)) = serde_json::from_slice(body) else {
    ///         return Payload::default().fingerprint(parts, body);
    ///     };
    ///     order.remove("sent_at");
    ///     Fingerprint::of(serde_json::Value::Object(order).to_string().as_bytes())
    /// });
    /// let options = Options::default().with_payload(payload);
    /// ```
    #[must_use]
    pub fn by(fingerprint: impl Fn(&Parts, &[u8]) -> Fingerprint + Send + Sync + 'static) -> Self {
        Self::By(Arc::new(fingerprint))
    }

    /// The fingerprint of a request.
    #[must_use]
    pub fn fingerprint(&self, parts: &Parts, body: &[u8]) -> Fingerprint {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let ordered = || form::canonical(query);
        match self {
            Self::Canonical => both(&ordered(), &by_type(parts, body)),
            Self::CanonicalJson => both(&ordered(), &or_bytes(json::canonical(body), body)),
            Self::Bytes => both(query, body),
            Self::By(fingerprint) => fingerprint(parts, body),
        }
    }
}

fn by_type<'a>(parts: &Parts, body: &'a [u8]) -> Cow<'a, [u8]> {
    // Several types are nobody's.
    let mut types = parts.headers.get_all(CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else { return body.into() };
    let Ok(content_type) = content_type.to_str() else { return body.into() };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/x-www-form-urlencoded" => form::canonical(body),
        json if json == "application/json" || json.ends_with("+json") => {
            or_bytes(json::canonical(body), body)
        }
        parts if parts.starts_with("multipart/") => or_bytes(multipart::canonical(content_type, body), body),
        _ => body.into(),
    }
}

fn or_bytes(canonical: Option<Vec<u8>>, body: &[u8]) -> Cow<'_, [u8]> {
    canonical.map_or_else(|| body.into(), Cow::from)
}

fn both(query: &[u8], body: &[u8]) -> Fingerprint {
    if query.is_empty() {
        return Fingerprint::of(body);
    }
    // Length-prefixed, so that no query and body can be taken for another pair.
    let mut both = (query.len() as u64).to_be_bytes().to_vec();
    both.extend_from_slice(query);
    both.extend_from_slice(body);
    Fingerprint::of(&both)
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Canonical => "Canonical",
            Self::CanonicalJson => "CanonicalJson",
            Self::Bytes => "Bytes",
            Self::By(_) => "By",
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn print(payload: &Payload, content_type: &str, query: &str, body: &[u8]) -> Fingerprint {
        let request =
            Request::post(format!("/p?{query}").trim_end_matches('?')).header(CONTENT_TYPE, content_type);
        payload.fingerprint(&request.body(()).unwrap().into_parts().0, body)
    }

    #[test]
    fn bytes_are_bytes_and_the_query_counts() {
        let print =
            |query: &str, body: &str| print(&Payload::Bytes, "application/json", query, body.as_bytes());
        assert_ne!(print("", "{}"), print("", "{ }"));
        assert_ne!(print("a=1", "{}"), print("a=2", "{}"));
        assert_ne!(print("a=1&b=2", "{}"), print("b=2&a=1", "{}"));
        assert_ne!(print("a", "b{}"), print("ab", "{}"));
        assert_eq!(print("", "{}"), Fingerprint::of(b"{}"));
    }

    #[test]
    fn the_content_type_says_which_differences_are_none() {
        let same = |content_type: &str, a: &str, b: &str| {
            let print = |body: &str| print(&Payload::default(), content_type, "", body.as_bytes());
            print(a) == print(b)
        };
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(same(json, r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#), "{json}");
        }
        for other in ["text/plain", "", "application/jsonlines", "application/octet-stream"] {
            assert!(!same(other, r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#), "{other}");
        }
        assert!(same("application/x-www-form-urlencoded", "a=1&b=2", "b=2&a=1"));
        assert!(!same("text/plain", "a=1&b=2", "b=2&a=1"));
    }

    #[test]
    fn a_reordered_query_is_the_same_query() {
        let print = |query: &str| print(&Payload::default(), "text/plain", query, b"x");
        assert_eq!(print("dry_run=1&currency=eur"), print("currency=eur&dry_run=1"));
        assert_ne!(print("dry_run=1&currency=eur"), print("dry_run=0&currency=eur"));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..300), kind in 0..4_usize) {
            let types = ["application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "a/b"];
            print(&Payload::default(), types[kind], "", &body);
            print(&Payload::CanonicalJson, types[kind], "", &body);
        }
    }
}
