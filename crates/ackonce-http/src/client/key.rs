//! Keys, and how they are made.

use std::fmt;

use http::HeaderValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::identity::MAX_KEY_LEN;

/// The key of one operation: make it before the first attempt, keep it for every further one, and make a new one for
/// the next operation, even if that looks the same.
///
/// ```
/// use ackonce_http::client::OperationKey;
/// let key = OperationKey::uuid_v4();
/// assert_eq!(key.as_str().len(), 36);
/// assert_ne!(key, OperationKey::uuid_v4());
/// assert_eq!(OperationKey::new("order_123_payment_attempt_1").unwrap().as_str(), "order_123_payment_attempt_1");
/// assert!(OperationKey::new("two words").is_none());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OperationKey(String);

impl OperationKey {
    /// A key of your own: 1 to 255 visible ASCII characters without `"`, `,`, `;` and `\`.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Option<Self> {
        let key = key.into();
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\');
        ((1..=MAX_KEY_LEN).contains(&key.len()) && key.bytes().all(plain)).then_some(Self(key))
    }

    /// 122 random bits. The usual recommendation.
    #[must_use]
    pub fn uuid_v4() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// A time in milliseconds, then 74 random bits: servers that index keys like that they come in order.
    #[must_use]
    pub fn uuid_v7() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    /// A digest of the operation's parameters: the same key even from a process that has forgotten the first attempt.
    ///
    /// **Beware.** Two real operations that look alike (the same amount to the same payee, twice a day) become one, and
    /// one operation with a parameter that changes between attempts (a time stamp) becomes two. Put into `parts` the
    /// parameters that tell operations apart, an order's number above all, and nothing else.
    ///
    /// ```
    /// use ackonce_http::client::OperationKey;
    /// let key = OperationKey::digest("charge", ["order_123", "1999", "eur"]);
    /// assert_eq!(key, OperationKey::digest("charge", ["order_123", "1999", "eur"]));
    /// assert_ne!(key, OperationKey::digest("charge", ["order_1231", "999", "eur"]));
    /// ```
    #[must_use]
    pub fn digest<P: AsRef<[u8]>>(scope: &str, parts: impl IntoIterator<Item = P>) -> Self {
        let mut hasher = Sha256::new();
        let mut add = |part: &[u8]| {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        };
        add(scope.as_bytes());
        parts.into_iter().for_each(|part| add(part.as_ref()));
        Self(hex::encode(hasher.finalize()))
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The header's value, quoted as the IETF draft has it.
    pub(crate) fn to_header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("\"{}\"", self.0)).ok()
    }

    /// The key that a header's value stands for, if it is one.
    pub(crate) fn of_header(value: &HeaderValue) -> Option<Self> {
        let headers = http::HeaderMap::from_iter([(crate::IDEMPOTENCY_KEY, value.clone())]);
        let key = crate::IdempotencyKey::from_headers(&headers).ok()?;
        String::from_utf8(key.as_bytes().to_vec()).ok().map(Self)
    }
}

impl fmt::Debug for OperationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperationKey({})", self.0)
    }
}

impl fmt::Display for OperationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
