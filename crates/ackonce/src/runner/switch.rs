//! What ends a runner's waiting, or all its work.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// A token beside a flag: every message looks at it several times, and looking at a token takes its lock.
#[derive(Debug, Default)]
pub(super) struct Switch {
    is_on: AtomicBool,
    token: CancellationToken,
}

impl Switch {
    /// For good.
    pub(super) fn turn_on(&self) {
        // The flag first: whoever the token wakes finds it set.
        self.is_on.store(true, Ordering::Release);
        self.token.cancel();
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Ready once it is on. Boxed when it comes to waiting: it is waited for at many places, and most do not get there.
    pub(super) async fn on(&self) {
        Box::pin(self.token.cancelled()).await;
    }

    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }
}
