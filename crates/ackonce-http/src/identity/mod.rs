//! The identity of a request: its key, its caller and its target name its record, and its payload tells a repeat from
//! another request under the same key.

mod key;
mod payload;
mod principal;
mod target;

use ackonce::{Key, KeyError, Scope};
use http::Method;
use sha2::{Digest, Sha256};

pub use key::{IDEMPOTENCY_KEY, IdempotencyKey, InvalidKey, MAX_KEY_LEN};
pub use payload::{FingerprintOf, Payload};
pub(crate) use principal::Bucket;
pub use principal::Principal;
pub use target::Target;

/// The longest target that is written out in a record's ID; a longer one is replaced by its digest.
const MAX_TARGET_LEN: usize = 512;

/// The longest ID of a record.
pub(crate) const MAX_ID_LEN: usize = MAX_TARGET_LEN + 1024;

/// The key of a request's record. Its ID is `POST /payments BUCKET KEY`: readable, and unambiguous, because only the
/// idempotency key may contain a space.
///
/// # Errors
/// [`KeyError`]: the ID is longer than [`MAX_ID_LEN`], by a method of hundreds of bytes.
pub(crate) fn record_key(
    scope: &Scope,
    bucket: &Bucket,
    method: &Method,
    target: &str,
    key: &[u8],
) -> Result<Key, KeyError> {
    const DIGEST: &str = "sha256:";
    let len = method.as_str().len() + target.len() + bucket.as_bytes().len() + key.len() + 3;
    let mut id = Vec::with_capacity(len);
    id.extend_from_slice(method.as_str().as_bytes());
    id.push(b' ');
    let is_plain = target.len() <= MAX_TARGET_LEN
        && !target.starts_with(DIGEST)
        && !target.bytes().any(|b| b == b' ' || b.is_ascii_control());
    if is_plain {
        id.extend_from_slice(target.as_bytes());
    } else {
        id.extend_from_slice(DIGEST.as_bytes());
        id.extend_from_slice(hex::encode(Sha256::digest(target.as_bytes())).as_bytes());
    }
    id.push(b' ');
    id.extend_from_slice(bucket.as_bytes());
    id.push(b' ');
    id.extend_from_slice(key);
    scope.key(id)
}
