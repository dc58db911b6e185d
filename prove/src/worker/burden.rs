//! Handlers that take long, or for ever, or block their thread: a few messages burden their first attempt.

use std::io;
use std::time::Duration;

use ackonce::Context;
use ackonce_testkit::lines;

use super::Task;
use crate::logs::HANDLERS;
use crate::messages::number;
use crate::nemesis::{Fault, FaultKind};

/// One message in so many burdens its handler.
const EVERY: u64 = 29;

/// The burdens of a run, and their log.
pub(super) struct Burdens {
    kinds: Vec<FaultKind>,
    lease: Duration,
    log: lines::Writer,
}

/// The burden of one handler.
#[derive(Debug, Clone, Copy)]
pub(super) struct Burden {
    kind: FaultKind,
    length: Duration,
    /// It comes after the effect, not before.
    after: bool,
}

impl Burdens {
    pub(super) fn open(task: &Task<'_>) -> io::Result<Self> {
        let lease = Duration::from_millis(task.plan.lease_ms);
        let kinds = task.plan.faults.iter().copied().filter(|kind| kind.of_handlers(lease).is_some());
        let log = lines::Writer::open(task.plan.dir.join(HANDLERS))?;
        Ok(Self { kinds: kinds.collect(), lease, log })
    }

    /// The burden of this attempt, which is then logged as a fault that begins `now`.
    pub(super) fn of(&self, cx: &Context, id: &str, now: u64) -> io::Result<Option<Burden>> {
        let Some(number) = number(id).filter(|number| number % EVERY == 17 && cx.attempt() == 1) else {
            return Ok(None);
        };
        let which = number / EVERY;
        let nth = usize::try_from(which).unwrap_or(0) % self.kinds.len().max(1);
        let Some(kind) = self.kinds.get(nth).copied() else { return Ok(None) };
        let length = kind.of_handlers(self.lease).unwrap_or_default();
        let to = now + u64::try_from(length.as_micros()).unwrap_or(0);
        self.log.append(serde_json::to_vec(&Fault { kind, from: now, to })?)?;
        let after = kind == FaultKind::StuckHandler && which % 2 == 1;
        Ok(Some(Burden { kind, length, after }))
    }
}

impl Burden {
    /// Takes its time, if it comes on this side of the effect.
    pub(super) async fn bear(self, after_effect: bool) {
        match self.kind {
            _ if self.after != after_effect => {}
            FaultKind::StuckHandler => std::future::pending().await,
            FaultKind::BlockedThread => std::thread::sleep(self.length),
            _ => tokio::time::sleep(self.length).await,
        }
    }

    /// The same in a handler that cannot await.
    pub(super) fn bear_blocking(self) {
        std::thread::sleep(self.length);
    }
}
