//! A payload's fingerprint, which tells the same ID with another payload apart.

use std::fmt;

use sha2::{Digest, Sha256};

/// A payload's digest, 128 bits of SHA-256: tells the same ID with another payload apart.
///
/// It never decides identity, so a store may keep a prefix of it, of at least 8 bytes.
///
/// ```
/// use ackonce::store::Fingerprint;
///
/// assert_eq!(Fingerprint::of(b"{\"amount\":5}"), Fingerprint::of(b"{\"amount\":5}"));
/// // Bytes count, not their meaning.
/// assert_ne!(Fingerprint::of(b"{\"amount\":5}"), Fingerprint::of(b"{ \"amount\": 5 }"));
/// assert_ne!(Fingerprint::of_payload(None), Fingerprint::of_payload(Some(b"")));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The fingerprint of these bytes.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(payload).into();
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        Self(short)
    }

    /// The fingerprint of a payload that may be missing: none at all is another one than an empty one.
    #[must_use]
    pub fn of_payload(payload: Option<&[u8]>) -> Self {
        Self::of(payload.unwrap_or(b"ackonce: a message without a payload"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({:032x})", u128::from_be_bytes(self.0))
    }
}
