//! The store's time, which decides all; the host's clocks say how long to sleep, and when to ask the store again.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::claim::{ClaimRequest, Claimed, Token};
use crate::error::{Error, ErrorKind, Result};
use crate::handler::Handler;
use crate::key::Scope;
use crate::runner::Runner;

use super::handler::store_time;
use super::slot::{Slot, Utc};

/// The store is asked at least so often: its clock may have been set.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// The host's clocks are looked at so often: timers stand still while a machine is suspended.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// Clocks that run side by side do not drift apart by as much between two questions.
const DRIFT: Duration = Duration::from_secs(1);

pub(super) type HostClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The store's clock as one host knows it.
pub(super) struct StoreClock {
    scope: Scope,
    host: HostClock,
    reading: Option<Reading>,
}

/// An answer of the store. It was given between two moments of the host: a process may be stopped, and a store may be
/// slow, on either way.
#[derive(Clone, Copy)]
struct Reading {
    store: SystemTime,
    asked: Moment,
    answered: Moment,
}

/// The host's clocks. One is set, and the other stands still in a suspended machine.
#[derive(Clone, Copy)]
struct Moment {
    date: SystemTime,
    steady: Instant,
}

impl Moment {
    fn steady_since(&self, earlier: &Self) -> Duration {
        self.steady.saturating_duration_since(earlier.steady)
    }

    /// By the clock that saw more of it.
    fn most_since(&self, earlier: &Self) -> Duration {
        let by_date = self.date.duration_since(earlier.date).unwrap_or_default();
        by_date.max(self.steady_since(earlier))
    }

    /// True if the clocks disagree on the time that has passed.
    fn is_disturbed_since(&self, earlier: &Self) -> bool {
        let steady = self.steady_since(earlier);
        let apart = match self.date.duration_since(earlier.date) {
            Ok(by_date) => by_date.abs_diff(steady),
            Err(back) => back.duration().saturating_add(steady),
        };
        apart > DRIFT
    }
}

impl fmt::Debug for StoreClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreClock").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl StoreClock {
    pub(super) fn new(scope: &Scope, host: HostClock) -> Self {
        Self { scope: scope.clone(), host, reading: None }
    }

    /// The store's time: the fence of a claim that nobody has made before. Its record has expired once it is written.
    pub(super) async fn ask<H: Handler<Slot>>(&mut self, runner: &Runner<Slot, H>) -> Result<SystemTime> {
        let token = Token::random();
        let key = self.scope.beside("clock").key(token.0.to_vec()).map_err(super::invalid)?;
        let (lease, window) = (Duration::ZERO, Duration::ZERO);
        let request = ClaimRequest { key, token, lease, window, fingerprint: None };
        let asked = self.moment();
        let Some(Claimed::Acquired(lease)) = runner.ask(&[request]).await?.pop() else {
            return Err(Error::new(ErrorKind::Protocol, "the store knows a key that was drawn just now"));
        };
        let reading = Reading { store: store_time(lease.fence), asked, answered: self.moment() };
        if let Some(before) = self.reading.replace(reading) {
            self.compare(&before, &reading);
        }
        Ok(reading.store)
    }

    fn moment(&self) -> Moment {
        Moment { date: (self.host)(), steady: Instant::now() }
    }

    /// Says so if the store's clock was set: it is not where either of the host's clocks would have it.
    fn compare(&self, before: &Reading, reading: &Reading) {
        let later = |by: Duration| before.store.checked_add(by).unwrap_or(before.store);
        let least = later(reading.asked.steady_since(&before.answered));
        let most = later(reading.answered.most_since(&before.asked));
        let apart = |from: SystemTime, to: SystemTime| to.duration_since(from).is_ok_and(|by| by > DRIFT);
        let (expected, how) = match () {
            () if apart(reading.store, least) => (least, "back: a slot that has run does not run again"),
            () if apart(most, reading.store) => (most, "forward: slots in between count as missed"),
            () => return,
        };
        tracing::warn!(target: "ackonce", scope = self.scope.name(), store_time = %Utc(reading.store),
            expected = %Utc(expected), "the store's clock was set {how}");
    }

    /// Ready when the store should be asked again: it is that time, the last answer is old, or the host's clocks
    /// disagree on the time that has passed since. Time counts from the question, so that an answer that came late makes
    /// no slot late.
    pub(super) async fn wait_for(&self, next: Option<SystemTime>) {
        let Some(reading) = self.reading else { return };
        let until = next.and_then(|next| next.duration_since(reading.store).ok()).unwrap_or(ASK_EVERY);
        loop {
            let left = until.min(ASK_EVERY).saturating_sub(reading.asked.steady.elapsed());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(CHECK_EVERY)).await;
            if self.moment().is_disturbed_since(&reading.asked) {
                return;
            }
        }
    }
}
