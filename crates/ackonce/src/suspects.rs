//! The messages that may violate a deferred constraint, for inboxes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Key;

/// Messages of an inbox's group whose commit a deferred constraint refused.
///
/// A database does not say which message of a group violated the constraint. Each of them therefore runs alone until
/// it has committed: only the message that violates it is charged an attempt. Clones share one set.
///
/// ```
/// use ackonce::Scope;
/// use ackonce::store::Suspects;
///
/// let key = Scope::new("billing/deposit")?.key("evt_1")?;
/// let suspects = Suspects::default();
/// suspects.add(&key);
/// assert!(suspects.contains(&key));
/// suspects.remove(&key);
/// assert!(!suspects.contains(&key));
/// # Ok::<(), ackonce::KeyError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Suspects(Arc<Mutex<HashSet<[u8; 32]>>>);

/// More messages than one group can hold.
const MAX_SUSPECTS: usize = 1 << 14;

impl Suspects {
    /// Adds a message. The set is emptied when it holds 16,384: some suspects never come again, because they are
    /// buried or another process has taken them over.
    pub fn add(&self, key: &Key) {
        let mut suspects = self.lock();
        if suspects.len() >= MAX_SUSPECTS {
            suspects.clear();
        }
        suspects.insert(*key.digest());
    }

    /// Removes a message that has committed.
    pub fn remove(&self, key: &Key) {
        self.lock().remove(key.digest());
    }

    /// True if the message must run alone.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.lock().contains(key.digest())
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
