//! Whose request it is. Two principals never share a key.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::problem::Problem;

/// Whose request it is, found in its head. There is no default: a bucket that all callers share would replay
/// one's answers to another.
///
/// Records keep 128 bits of SHA-256 of the principal, never the principal: it may be a credential.
///
/// Authenticate first: the layer does not check a credential, so it belongs inside of the layer that does. Then name the
/// *subject*, the account or the user that was found, rather than the credential: a client may renew its token between two
/// tries of one operation, and the second try must find the record of the first.
///
/// ```
/// use ackonce_http::Principal;
/// // The authentication layer, outside of this one, has put it among the request's extensions.
/// #[derive(Clone)]
/// struct Account(u64);
/// let by_account = Principal::subject(|account: &Account| account.0.to_string());
/// // API keys that are not renewed within the window can stand for their account.
/// let by_api_key = Principal::bearer();
/// ```
#[derive(Clone)]
pub struct Principal {
    find: Find,
    anonymous: Anonymous,
    challenge: Option<HeaderValue>,
}

type Extract = dyn Fn(&Parts) -> Option<Bucket> + Send + Sync;

#[derive(Clone)]
enum Find {
    SingleTenant,
    By(Arc<Extract>),
}

/// The answer to a request that has no principal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Anonymous {
    Refused,
    Shared,
}

impl Principal {
    /// The subject that an authentication layer outside of this one has found and put among the request's extensions as a
    /// `T`: an account, a user, a tenant. It must not change when a client renews its token. A request without a `T`,
    /// or with an empty name, is an anonymous caller's.
    #[must_use]
    pub fn subject<T, P>(name: impl Fn(&T) -> P + Send + Sync + 'static) -> Self
    where
        T: Send + Sync + 'static,
        P: Into<Bytes>,
    {
        Self::by(move |parts| parts.extensions.get::<T>().map(&name))
    }

    /// The token of `Authorization: Bearer`, for API keys that live longer than the window. Without one the answer is
    /// a 401 with a challenge.
    ///
    /// **Not for tokens that are renewed** (OAuth 2 access tokens, JWTs with an expiry): a client whose answer was lost
    /// and whose token was renewed before its next try is another caller then, and the operation runs a second time.
    /// Use [`subject`](Self::subject) for those.
    #[must_use]
    pub fn bearer() -> Self {
        Self::found(|parts| bearer(parts).and_then(Bucket::of))
            .with_challenge(HeaderValue::from_static("Bearer"))
    }

    /// A header's value, of a header that something in front sets and clients cannot.
    #[must_use]
    pub fn header(name: HeaderName) -> Self {
        Self::found(move |parts| Bucket::of(sole(parts, &name)?.as_bytes()))
    }

    /// Any part of the head. `None` or nothing is an anonymous caller.
    #[must_use]
    pub fn by<F, P>(extract: F) -> Self
    where
        F: Fn(&Parts) -> Option<P> + Send + Sync + 'static,
        P: Into<Bytes>,
    {
        Self::found(move |parts| Bucket::of(&extract(parts)?.into()))
    }

    fn found(bucket: impl Fn(&Parts) -> Option<Bucket> + Send + Sync + 'static) -> Self {
        Self { find: Find::By(Arc::new(bucket)), anonymous: Anonymous::Refused, challenge: None }
    }

    /// The same, answering 401 with this `WWW-Authenticate` challenge to an anonymous caller; without one it is 403.
    #[must_use]
    pub fn with_challenge(mut self, challenge: HeaderValue) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// All callers are one: for a service that serves one tenant, which may see all answers.
    #[must_use]
    pub fn single_tenant() -> Self {
        Self { find: Find::SingleTenant, anonymous: Anonymous::Refused, challenge: None }
    }

    /// Anonymous callers share one bucket, apart from all principals, instead of being refused. A caller who guesses
    /// another's key gets its answer.
    #[must_use]
    pub fn or_anonymous(mut self) -> Self {
        self.anonymous = Anonymous::Shared;
        self
    }

    /// The name under which this caller's keys are filed.
    pub(crate) fn bucket(&self, parts: &Parts) -> Result<Bucket, Problem> {
        let Find::By(extract) = &self.find else { return Ok(Bucket::Single) };
        match extract(parts) {
            Some(bucket) => Ok(bucket),
            None if self.anonymous == Anonymous::Shared => Ok(Bucket::Anonymous),
            None => Err(self.refusal()),
        }
    }

    fn refusal(&self) -> Problem {
        const TITLE: &str = "It cannot be told whose idempotency key this is";
        let problem = |status| {
            Problem::new(status, "anonymous_caller", TITLE)
                .with_detail("Keys belong to a caller. Send the request again with your credentials.")
        };
        match self.challenge.clone() {
            Some(challenge) => problem(StatusCode::UNAUTHORIZED).with_header(WWW_AUTHENTICATE, challenge),
            None => problem(StatusCode::FORBIDDEN),
        }
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.find, self.anonymous) {
            (Find::SingleTenant, _) => "Principal(single tenant)",
            (_, Anonymous::Refused) => "Principal",
            (_, Anonymous::Shared) => "Principal(or anonymous)",
        })
    }
}

/// Whose bucket it is, in text that can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bucket {
    Single,
    Anonymous,
    /// 128 bits of the principal's digest, in hexadecimal.
    Of([u8; 32]),
}

impl Bucket {
    /// `None` if there is no principal but an empty one.
    fn of(principal: &[u8]) -> Option<Self> {
        (!principal.is_empty()).then(|| Self::named(principal))
    }

    /// Half a digest: nobody finds another principal with the same, and a key is a block shorter to digest in turn.
    pub(crate) fn named(principal: &[u8]) -> Self {
        let mut half = [0; 32];
        // 16 bytes always fill 32 characters.
        let _ = hex::encode_to_slice(&Sha256::digest(principal)[..16], &mut half);
        Self::Of(half)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Single => b"*",
            Self::Anonymous => b"-",
            Self::Of(digest) => digest,
        }
    }
}

/// The one value of a header; several are nobody's.
fn sole<'a>(parts: &'a Parts, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = parts.headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn bearer(parts: &Parts) -> Option<&[u8]> {
    let value = sole(parts, &AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii();
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty();
    is_bearer.then_some(token)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn bucket(principal: &Principal, headers: &[(&str, &str)]) -> Result<String, u16> {
        let mut request = Request::post("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let bucket = principal.bucket(&parts).map_err(|p| p.status().as_u16())?;
        Ok(String::from_utf8(bucket.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn a_bearer_token_is_a_bucket_and_is_not_shown() {
        let principal = Principal::bearer();
        let mine = bucket(&principal, &[("authorization", "Bearer sk_test_1")]).unwrap();
        assert_eq!(mine, bucket(&principal, &[("authorization", "bearer  sk_test_1")]).unwrap());
        assert_ne!(mine, bucket(&principal, &[("authorization", "Bearer sk_test_2")]).unwrap());
        assert_eq!(mine.len(), 32);
        assert!(!mine.contains("sk_test"));
    }

    #[test]
    fn a_subject_is_one_bucket_whatever_its_token() {
        #[derive(Clone)]
        struct Account(&'static str);
        let principal = Principal::subject(|account: &Account| account.0);
        let of = |token: &str, account: Option<Account>| {
            let mut request = Request::post("/").header("authorization", token).body(()).unwrap();
            if let Some(account) = account {
                request.extensions_mut().insert(account);
            }
            principal.bucket(&request.into_parts().0).map_err(|problem| problem.status().as_u16())
        };
        let mine = of("Bearer jwt-1", Some(Account("acct_1")));
        assert_eq!(mine, of("Bearer jwt-2", Some(Account("acct_1"))));
        assert_ne!(mine, of("Bearer jwt-1", Some(Account("acct_2"))));
        assert_eq!(of("Bearer jwt-1", None), Err(403));
        assert_eq!(of("Bearer jwt-1", Some(Account(""))), Err(403));
    }

    #[test]
    fn anonymous_callers_are_refused_unless_asked_for() {
        let none: [&[(&str, &str)]; 5] = [
            &[],
            &[("authorization", "Bearer ")],
            &[("authorization", "Basic abc")],
            &[("authorization", "é")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
        ];
        for headers in none {
            assert_eq!(bucket(&Principal::bearer(), headers), Err(401));
            assert_eq!(bucket(&Principal::bearer().or_anonymous(), headers).unwrap(), "-");
        }
        let by_header = Principal::header(HeaderName::from_static("x-user"));
        assert_eq!(bucket(&by_header, &[("x-user", "")]), Err(403));
        assert_eq!(bucket(&Principal::single_tenant(), &[]).unwrap(), "*");
    }
}
