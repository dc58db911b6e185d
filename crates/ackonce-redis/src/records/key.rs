//! The names of records: a tag, which is a cluster slot's worth of keys, and a field in it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ackonce::Key;
use sha2::{Digest, Sha256};

/// A store's own key for its digests, kept in Redis. A sender of messages does not know it and so cannot search
/// for two IDs that collide.
pub(crate) type Secret = [u8; 16];
/// 120 bits of the keyed digest. With the tag's 14 bits that is more than the 128 that DESIGN.md asks for.
pub(crate) type Field = [u8; 15];

/// The number of tags. One million records are 61 per tag: enough to share a bucket's cost, and far
/// enough from splitting it.
pub(crate) const TAGS: u16 = 1 << 14;

/// The first 14 bits of a key's digest. They are not keyed, so that all clients of a cluster agree on the
/// slot. An attacker who crowds one tag makes its buckets split by the field's bits, which are keyed.
pub(crate) fn tag(key: &Key) -> u16 {
    let digest = key.digest();
    u16::from_be_bytes([digest[0], digest[1]]) >> 2
}

pub(crate) fn field(secret: &Secret, key: &Key) -> Field {
    // Both have a fixed length, so they cannot be confused, and the result is cut: a keyed hash.
    let digest = Sha256::new().chain_update(secret).chain_update(key.digest()).finalize();
    let mut field = [0; 15];
    field.copy_from_slice(&digest[..15]);
    field
}

/// The key of a tag's root bucket. The braces are a cluster's hash tag: all of a tag is in one slot.
pub(crate) fn root(prefix: &str, tag: u16) -> Vec<u8> {
    format!("{prefix}:{{{tag:04x}}}").into_bytes()
}

/// The key of the store's secret.
pub(crate) fn secret_key(prefix: &str) -> String {
    format!("{prefix}:secret")
}

/// The secrets in use.
///
/// A bucket carries the secret that its fields were made with. That is the store's secret, except for a while after
/// a flush of the database under running clients, when a new client has made another one: then a client
/// that meets the bucket gets its secret in the answer, and sends the request again.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Mutex<Known>);

#[derive(Default)]
struct Known {
    current: Secret,
    others: HashMap<u16, Secret>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("others", &self.others.len()).finish_non_exhaustive()
    }
}

impl Secrets {
    /// The secret to try first for a tag.
    pub(crate) fn of(&self, tag: u16) -> Secret {
        let known = self.lock();
        known.others.get(&tag).copied().unwrap_or(known.current)
    }

    /// Sets the secret of new buckets.
    pub(crate) fn set_current(&self, secret: Secret) {
        self.lock().current = secret;
    }

    /// Records that a bucket of that tag has another secret.
    pub(crate) fn learn(&self, tag: u16, secret: Secret) {
        let mut known = self.lock();
        if secret == known.current {
            known.others.remove(&tag);
        } else {
            known.others.insert(tag, secret);
        }
    }

    /// The lock is held for a look-up, never across an await.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
