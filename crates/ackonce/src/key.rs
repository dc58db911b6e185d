//! The key of a record: scope + message ID, encoded so that no two pairs can meet.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// The longest message ID a scope accepts unless told otherwise, in bytes.
pub const DEFAULT_MAX_ID_LEN: usize = 1024;
/// The longest scope name, in bytes.
pub const MAX_SCOPE_LEN: usize = 256;
/// Stands between a scope's name and the purpose of a scope beside it: text, so that labels, headers and logs show it.
const BESIDE: &str = "/~";

/// Why a scope name or a message ID was refused. Nothing was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The scope's name is empty.
    #[error("the scope name is empty; name it after the consumer group or queue and the handler")]
    EmptyScope,
    /// The scope's name is longer than [`MAX_SCOPE_LEN`].
    #[error("the scope name has {len} bytes, at most {MAX_SCOPE_LEN} are allowed")]
    LongScope {
        /// Its length in bytes.
        len: usize,
    },
    /// The scope's name has a control character, which logs could not show.
    #[error("the scope name has a control character")]
    ControlInScope,
    /// The scope's name holds `/~`, which marks a scope [beside](Scope::beside) another.
    #[error("the scope name holds {BESIDE:?}, which is kept for records of Ackonce itself")]
    ReservedInScope,
    /// The message ID has no bytes.
    #[error("the message ID is empty")]
    EmptyId,
    /// The message ID is longer than the scope allows.
    #[error("the message ID has {len} bytes, at most {max} are allowed (Scope::with_max_id_len)")]
    LongId {
        /// Its length in bytes.
        len: usize,
        /// The scope's limit in bytes.
        max: usize,
    },
}

/// The name under which no message is processed twice: the consumer group or queue plus the handler's name.
///
/// Two scopes never share a record, even for equal IDs. Cloning is cheap.
///
/// ```
/// use ackonce::Scope;
/// let scope = Scope::new("billing/charge-card")?;
/// let key = scope.key("evt_1")?;
/// assert_ne!(key, Scope::new("billing/send-receipt")?.key("evt_1")?);
/// # Ok::<(), ackonce::KeyError>(())
/// ```
#[derive(Clone)]
pub struct Scope(Arc<Inner>);

struct Inner {
    name: String,
    max_id_len: usize,
    /// SHA-256 after the length-prefixed name, so that a key costs the ID's bytes alone.
    prefix: Sha256,
}

impl Scope {
    /// A scope of that name: 1 to 256 bytes of text without control characters and without `/~`.
    ///
    /// # Errors
    /// [`KeyError`] says which of those rules the name breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, KeyError> {
        let name = name.into();
        if name.is_empty() {
            return Err(KeyError::EmptyScope);
        }
        if name.len() > MAX_SCOPE_LEN {
            return Err(KeyError::LongScope { len: name.len() });
        }
        if name.chars().any(char::is_control) {
            return Err(KeyError::ControlInScope);
        }
        if name.contains(BESIDE) {
            return Err(KeyError::ReservedInScope);
        }
        Ok(Self::build(name, DEFAULT_MAX_ID_LEN))
    }

    /// The same scope with another limit on the length of an ID, in bytes (default 1024).
    #[must_use]
    pub fn with_max_id_len(&self, max: usize) -> Self {
        Self::build(self.0.name.clone(), max)
    }

    /// A scope beside this one, for records that must never meet the user's own IDs (messages
    /// without an ID, for instance). Its name is this one's, `/~` and the purpose, whose control characters are
    /// escaped: `jobs/report/~schedule`. No name that [`new`](Self::new) accepts can collide with it.
    #[must_use]
    pub fn beside(&self, purpose: &str) -> Self {
        let mut name = format!("{}{BESIDE}", self.0.name);
        for char in purpose.chars() {
            match char.is_control() || char == '\\' {
                true => name.extend(char.escape_default()),
                false => name.push(char),
            }
        }
        Self::build(name, self.0.max_id_len)
    }

    /// The name of the scope that this one was made [`beside`](Self::beside); its own name if it was made with
    /// [`new`](Self::new).
    #[must_use]
    pub fn base_name(&self) -> &str {
        self.0.name.split_once(BESIDE).map_or(&self.0.name, |(base, _)| base)
    }

    fn build(name: String, max_id_len: usize) -> Self {
        let mut prefix = Sha256::new();
        prefix.update((name.len() as u64).to_be_bytes());
        prefix.update(name.as_bytes());
        Self(Arc::new(Inner { name, max_id_len, prefix }))
    }

    /// The name it was made with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The key of one message in this scope. IDs are bytes: nothing is trimmed, folded or normalised.
    ///
    /// # Errors
    /// [`KeyError::EmptyId`] and [`KeyError::LongId`].
    pub fn key(&self, id: impl Into<Bytes>) -> Result<Key, KeyError> {
        let id = id.into();
        if id.is_empty() {
            return Err(KeyError::EmptyId);
        }
        if id.len() > self.0.max_id_len {
            return Err(KeyError::LongId { len: id.len(), max: self.0.max_id_len });
        }
        let mut hasher = self.0.prefix.clone();
        hasher.update(&id);
        Ok(Key(Arc::new(Parts { digest: hasher.finalize().into(), scope: self.clone(), id })))
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({:?})", self.0.name)
    }
}

/// Scope + message ID. Equal keys are the same message; unequal ones never share a record.
///
/// Its [`digest`](Self::digest) is SHA-256 over `len(scope) as u64 big-endian ‖ scope ‖ id`: the length
/// prefix keeps `a` + `bc` apart from `ab` + `c`, and 256 bits keep a sender from colliding on purpose.
/// Cloning is cheap: request, lease and settlement of one message share it.
///
/// ```
/// use ackonce::Scope;
///
/// let scope = Scope::new("billing/charge")?;
/// let key = scope.key("evt_1")?;
/// assert_eq!((key.scope().name(), &key.id()[..]), ("billing/charge", &b"evt_1"[..]));
/// // Lengths are part of the encoding: no two pairs of scope and ID share a digest.
/// assert_ne!(Scope::new("a:b")?.key("c")?.digest(), Scope::new("a")?.key("b:c")?.digest());
/// # Ok::<(), ackonce::KeyError>(())
/// ```
#[derive(Clone)]
pub struct Key(Arc<Parts>);

struct Parts {
    digest: [u8; 32],
    scope: Scope,
    id: Bytes,
}

impl Key {
    /// The fixed-length name of this key, which stores index.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }

    /// The scope it belongs to.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.0.scope
    }

    /// The message ID, as it came.
    #[must_use]
    pub fn id(&self) -> &Bytes {
        &self.0.id
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}
impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.digest.hash(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.scope().0.name, self.id().escape_ascii())
    }
}

/// Bytes as hexadecimal digits, for an ID of our own: logs and dead letters show it.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_built_to_collide_stay_apart() {
        let ids: [&[u8]; 12] = [
            b"7",
            b"007",
            b"7.0",
            b"a",
            b"A",
            b"a\0",
            b"{x}y",
            b"x{y}",
            b"a:b|c",
            b"a|b:c",
            "e\u{301}".as_bytes(),
            "\u{e9}".as_bytes(),
        ];
        let scope = Scope::new("s").unwrap();
        let keys: HashSet<_> = ids.iter().map(|id| scope.key(id.to_vec()).unwrap()).collect();
        assert_eq!(keys.len(), ids.len());
    }

    #[test]
    fn limits_are_typed_errors() {
        let scope = Scope::new("s").unwrap();
        assert_eq!(scope.key("").unwrap_err(), KeyError::EmptyId);
        assert!(scope.key(vec![b'x'; 1024]).is_ok());
        assert_eq!(scope.key(vec![b'x'; 1025]).unwrap_err(), KeyError::LongId { len: 1025, max: 1024 });
        assert!(scope.with_max_id_len(2000).key(vec![b'x'; 1025]).is_ok());
        assert_eq!(Scope::new("").unwrap_err(), KeyError::EmptyScope);
        assert_eq!(Scope::new("a\u{1}b").unwrap_err(), KeyError::ControlInScope);
        assert_eq!(Scope::new("a/~b").unwrap_err(), KeyError::ReservedInScope);
        assert_eq!(Scope::new("x".repeat(257)).unwrap_err(), KeyError::LongScope { len: 257 });
    }

    #[test]
    fn the_encoding_is_a_stored_format() {
        // Changing this digest forgets every record ever stored.
        let key = Scope::new("orders").unwrap().key("evt_1").unwrap();
        let expected = Sha256::digest(b"\0\0\0\0\0\0\0\x06ordersevt_1");
        assert_eq!(key.digest()[..], expected[..]);
        assert_eq!(Scope::new("orders").unwrap().beside("schedule").name(), "orders/~schedule");
    }

    #[test]
    fn the_name_of_a_scope_beside_another_can_be_shown() {
        let scope = Scope::new("a/").unwrap();
        let purposes = ["p", "", "\u{1}", "\\u{1}", "\n", "\\n", "é/~x"];
        let names: HashSet<_> = purposes.iter().map(|p| scope.beside(p).name().to_owned()).collect();
        assert_eq!(names.len(), purposes.len(), "{names:?}");
        assert!(names.iter().all(|name| !name.chars().any(char::is_control)), "{names:?}");
        assert!(purposes.iter().all(|purpose| scope.beside(purpose).base_name() == "a/"));
        assert_eq!(scope.base_name(), "a/");
    }

    proptest! {
        #[test]
        fn only_equal_pairs_are_equal(a in "[a-c]{1,3}", x in "[a-c]{1,3}", b in "[a-c]{1,3}", y in "[a-c]{1,3}") {
            let left = Scope::new(a.clone()).unwrap().key(x.clone()).unwrap();
            let right = Scope::new(b.clone()).unwrap().key(y.clone()).unwrap();
            prop_assert_eq!(left == right, (a, x) == (b, y));
        }

        #[test]
        fn a_scope_beside_is_never_a_named_one(name in "\\PC{1,20}", other in "\\PC{1,20}", id in prop::collection::vec(any::<u8>(), 1..20)) {
            prop_assume!(!name.contains(BESIDE) && !other.contains(BESIDE));
            let beside = Scope::new(name).unwrap().beside("p").key(id.clone()).unwrap();
            prop_assert_ne!(beside, Scope::new(other).unwrap().key(id).unwrap());
        }
    }
}
