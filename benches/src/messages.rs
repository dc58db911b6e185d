//! The messages for the arms.

use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, Settle, Settled, Settlement, Token};
use ackonce::{Deduplicator, Scope};
use anyhow::{Context as _, bail};

pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// New IDs, as many as are asked for: 40 characters each, as a consumer's are.
pub(crate) struct Messages {
    scope: Scope,
    next: u64,
    window: Duration,
}

pub(crate) fn id(n: u64) -> String {
    format!("{:032x}{:08x}", u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835), n >> 32)
}

impl Messages {
    pub(crate) fn after(next: u64) -> anyhow::Result<Self> {
        Ok(Self { scope: Scope::new("bench/handler")?, next, window: WEEK })
    }

    pub(crate) fn with_window(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    pub(crate) fn claims(&mut self, count: usize) -> anyhow::Result<Vec<ClaimRequest>> {
        (0..count)
            .map(|_| {
                self.next += 1;
                self.claim(self.next)
            })
            .collect()
    }

    pub(crate) fn claim(&self, n: u64) -> anyhow::Result<ClaimRequest> {
        let (key, token) = (self.scope.key(id(n))?, Token::random());
        Ok(ClaimRequest {
            key,
            token,
            lease: Duration::from_secs(60),
            window: self.window,
            fingerprint: None,
        })
    }
}

/// Claims and completes them, each in one trip.
pub(crate) async fn process(
    store: &(impl Deduplicator + ?Sized),
    claims: &[ClaimRequest],
) -> anyhow::Result<()> {
    let settle = |(answer, claim): (_, &ClaimRequest)| match answer {
        Claimed::Acquired(lease) => {
            Ok(Settlement::new(&lease, Settle::Complete { window: claim.window, outcome: None }))
        }
        other => bail!("not a new ID: {other:?}"),
    };
    let settlements: Vec<_> =
        store.claim(claims).await?.into_iter().zip(claims).map(settle).collect::<anyhow::Result<_>>()?;
    let settled = store.settle(&settlements).await?;
    settled.iter().all(|s| *s == Settled::Yes).then_some(()).context("a settlement was lost")
}
