//! The messages that may violate a deferred constraint.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ackonce::Key;

/// Messages of a group whose commit was refused because of a deferred constraint. SQLite does not say which of them
/// violated it, so each runs alone until it has committed: this identifies the culprit, and only the culprit is
/// charged an attempt.
#[derive(Debug, Clone, Default)]
pub(super) struct Suspects(Arc<Mutex<HashSet<[u8; 32]>>>);

/// More messages than one group can hold.
const MAX_SUSPECTS: usize = 1 << 14;

impl Suspects {
    pub(super) fn add(&self, key: &Key) {
        let mut suspects = self.lock();
        // Some suspects never come again (buried, or taken over by another process).
        if suspects.len() >= MAX_SUSPECTS {
            suspects.clear();
        }
        suspects.insert(*key.digest());
    }

    pub(super) fn remove(&self, key: &Key) {
        self.lock().remove(key.digest());
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.lock().contains(key.digest())
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
