//! The store's time, which decides all; the host's clocks say how long to sleep, and when to ask the store again.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::{ClaimRequest, Claimed, Error, ErrorKind, Handler, Result, Runner, Scope, Token};

use super::handler::store_time;
use super::slots::{Slot, Utc};

/// The store is asked at least so often: its clock may have been set.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// The host's clocks are looked at so often: timers stand still while a machine is suspended.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Clocks that run side by side do not drift apart by as much between two questions.
const DRIFT: Duration = Duration::from_secs(1);

pub(super) type HostClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The store's clock as one host knows it.
pub(super) struct StoreClock {
    scope: Scope,
    host: HostClock,
    told: Option<Told>,
}

/// An answer of the store, and the host's clocks at that moment.
#[derive(Clone, Copy)]
struct Told {
    store: SystemTime,
    host: SystemTime,
    steady: Instant,
}

impl fmt::Debug for StoreClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreClock").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl StoreClock {
    pub(super) fn new(scope: &Scope, host: HostClock) -> Self {
        Self { scope: scope.beside("clock"), host, told: None }
    }

    /// The store's time: the fence of a claim that nobody has made before. Its record has expired once it is written.
    pub(super) async fn ask<H: Handler<Slot>>(&mut self, runner: &Runner<Slot, H>) -> Result<SystemTime> {
        let token = Token::random();
        let key = self.scope.key(token.0.to_vec()).map_err(super::invalid)?;
        let (lease, window) = (Duration::ZERO, Duration::ZERO);
        let request = ClaimRequest { key, token, lease, window, fingerprint: None };
        let sent = Instant::now();
        let Some(Claimed::Acquired(lease)) = runner.ask(&[request]).await?.pop() else {
            return Err(Error::new(ErrorKind::Protocol, "the store knows a key that was drawn just now"));
        };
        let told = Told { store: store_time(lease.fence), host: (self.host)(), steady: Instant::now() };
        if let Some(before) = self.told.replace(told) {
            self.compare(&before, &told, sent);
        }
        Ok(told.store)
    }

    /// Says so if the store's clock was set. Neither of the host's clocks alone can tell: one is set, too, and the
    /// other stands still in a suspended machine.
    fn compare(&self, before: &Told, told: &Told, sent: Instant) {
        let later = |by: Duration| before.store.checked_add(by).unwrap_or(before.store);
        let least = later(sent.saturating_duration_since(before.steady));
        let by_host = told.host.duration_since(before.host).unwrap_or_default();
        let most = later(by_host.max(told.steady.saturating_duration_since(before.steady)));
        let apart = |from: SystemTime, to: SystemTime| to.duration_since(from).is_ok_and(|by| by > DRIFT);
        let (expected, how) = match () {
            () if apart(told.store, least) => (least, "back: a slot that has run does not run again"),
            () if apart(most, told.store) => (most, "forward: slots in between count as missed"),
            () => return,
        };
        tracing::warn!(target: "ackonce", scope = self.scope.name(), store_time = %Utc(told.store),
            expected = %Utc(expected), "the store's clock was set {how}");
    }

    /// Ready when the store should be asked again: it is that time, the last answer is old, or the host's clocks
    /// disagree on how long ago it was.
    pub(super) async fn wait_for(&self, next: Option<SystemTime>) {
        let Some(told) = self.told else { return };
        let until = next.and_then(|next| next.duration_since(told.store).ok()).unwrap_or(ASK_EVERY);
        loop {
            let passed = told.steady.elapsed();
            let left = until.min(ASK_EVERY).saturating_sub(passed);
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
            if self.is_disturbed(&told) {
                return;
            }
        }
    }

    fn is_disturbed(&self, told: &Told) -> bool {
        let passed = told.steady.elapsed();
        let apart = match (self.host)().duration_since(told.host) {
            Ok(by_host) => by_host.abs_diff(passed),
            Err(back) => back.duration().saturating_add(passed),
        };
        apart > DRIFT
    }
}
