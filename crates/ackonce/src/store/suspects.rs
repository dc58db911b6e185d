//! The messages of groups whose commit was refused.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Key;

/// The messages of groups whose commit a database refused because of a deferred constraint. The database does not tell
/// which message violated it, so each of them runs alone until it has committed: only the message that violates it is
/// charged an attempt. Clones share the same messages.
#[derive(Debug, Clone, Default)]
pub struct Suspects(Arc<Mutex<HashSet<[u8; 32]>>>);

/// The most messages to remember: some never come again, because they are buried or taken over by another process.
const MAX_SUSPECTS: usize = 1 << 14;

impl Suspects {
    /// Remembers the messages of a group.
    pub fn add<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) {
        let mut suspects = self.lock();
        if suspects.len() >= MAX_SUSPECTS {
            suspects.clear();
        }
        suspects.extend(keys.into_iter().map(Key::digest));
    }

    /// Forgets a message, which has committed alone.
    pub fn remove(&self, key: &Key) {
        self.lock().remove(key.digest());
    }

    /// True if the message has to run alone.
    #[must_use]
    pub fn has(&self, key: &Key) -> bool {
        self.lock().contains(key.digest())
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
