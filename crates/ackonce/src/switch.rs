//! A switch that ends waiting, or work, for good.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// A flag, and a token once somebody waits for it: every message looks at several, and hardly any is waited for. A token
/// is on the heap, and a look at it takes its lock.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    is_on: AtomicBool,
    token: OnceLock<CancellationToken>,
}

impl Switch {
    /// For good.
    pub(crate) fn turn_on(&self) {
        // The flag first: a task that makes its token later finds the flag set, and so does a task that the token wakes.
        self.is_on.store(true, Ordering::SeqCst);
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::SeqCst) || self.token.get().is_some_and(CancellationToken::is_cancelled)
    }

    /// Ready once it is on. Boxed when it comes to waiting: it is waited for at many places, and most do not get there.
    pub(crate) async fn on(&self) {
        Box::pin(self.token().cancelled()).await;
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new);
        if self.is_on.load(Ordering::SeqCst) {
            token.cancel();
        }
        token
    }
}

impl From<CancellationToken> for Switch {
    fn from(token: CancellationToken) -> Self {
        Self { is_on: AtomicBool::new(false), token: token.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_noticed_whoever_comes_first() {
        let (early, late) = (Switch::default(), Switch::default());
        let token = early.token().clone();
        assert!(!early.is_on() && !token.is_cancelled());
        early.turn_on();
        assert!(early.is_on() && token.is_cancelled());
        late.turn_on();
        late.on().await;
        assert!(late.is_on() && late.token().is_cancelled());
    }

    #[tokio::test]
    async fn somebody_elses_token_turns_it_on() {
        let token = CancellationToken::new();
        let switch = Switch::from(token.clone());
        token.cancel();
        switch.on().await;
        assert!(switch.is_on());
    }
}
