//! The messages of groups whose COMMIT was refused.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ackonce::Key;

/// The server does not tell which message of a group violated a deferred constraint, so each of them runs
/// alone until it has committed: only the message that violates it is charged an attempt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Suspects(Arc<Mutex<HashSet<[u8; 32]>>>);

/// The most to remember: some never come again, buried or taken over by another process.
const MAX_SUSPECTS: usize = 1 << 14;

impl Suspects {
    pub(crate) fn add<'k>(&self, keys: impl Iterator<Item = &'k Key>) {
        let mut suspects = self.lock();
        if suspects.len() >= MAX_SUSPECTS {
            suspects.clear();
        }
        suspects.extend(keys.map(Key::digest));
    }

    pub(crate) fn remove(&self, key: &Key) {
        self.lock().remove(key.digest());
    }

    pub(crate) fn has(&self, key: &Key) -> bool {
        self.lock().contains(key.digest())
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
