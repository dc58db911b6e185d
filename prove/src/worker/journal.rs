//! The files that handlers write, and the trouble that messages make for them.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use ackonce::{Context, Failure};
use ackonce_testkit::ledger::{Ledger, LedgerEntry};

use super::Task;
use super::burden::{Burden, Burdens};
use crate::logs::micros_now;
use crate::messages::{Trouble, number};

/// The step of the idempotency key.
const STEP: &str = "effect";

/// The files that a handler writes.
pub(super) struct Journal {
    starts: Ledger,
    effects: Ledger,
    cancelled: Ledger,
    burdens: Burdens,
    /// In a process whose clock is moved: the time at this instant, by the kernel.
    began: Option<(u64, Instant)>,
}

/// An effect whose handler has not returned. If it is dropped before, cancelled with its lease, the journal says so: nobody
/// records the effect.
pub(super) struct Unreturned(Arc<Journal>, Option<LedgerEntry>);

impl Unreturned {
    pub(super) fn returns(mut self) {
        self.1 = None;
    }
}

impl Drop for Unreturned {
    fn drop(&mut self) {
        if let Some(entry) = self.1.take()
            && let Err(error) = self.0.cancelled.append(&entry)
        {
            eprintln!("a cancelled handler could not be noted: {error}");
        }
    }
}

impl Journal {
    pub(super) fn open(task: &Task<'_>) -> io::Result<Arc<Self>> {
        let plan = task.plan;
        let began = plan.clock.is_some().then(|| by_the_kernel(&plan.dir)).transpose()?;
        Ok(Arc::new(Self {
            starts: Ledger::open(plan.starts())?,
            effects: Ledger::open(plan.effects())?,
            cancelled: Ledger::open(plan.cancelled())?,
            burdens: Burdens::open(task)?,
            began,
        }))
    }

    /// An entry of this moment.
    fn entry(&self, cx: &Context) -> LedgerEntry {
        let now = self.began.map(|(at, instant)| {
            at.saturating_add(u64::try_from(instant.elapsed().as_micros()).unwrap_or(u64::MAX))
        });
        LedgerEntry { at: now.unwrap_or_else(micros_now), ..LedgerEntry::now(cx, STEP) }
    }

    /// Notes the start of a run, and tells the burden and the trouble that its message makes now.
    pub(super) fn start(
        &self,
        cx: &Context,
        retried: bool,
    ) -> io::Result<(LedgerEntry, Option<Burden>, Trouble)> {
        let entry = self.entry(cx);
        self.starts.append(&entry)?;
        let burden = self.burdens.of(cx, &entry.id, entry.at)?;
        let trouble = match number(&entry.id).map(Trouble::of) {
            Some(Trouble::Refused) => Trouble::Refused,
            Some(trouble) if retried && cx.attempt() == 1 => trouble,
            _ => Trouble::None,
        };
        Ok((entry, burden, trouble))
    }

    /// The effect.
    pub(super) fn take_effect(this: &Arc<Self>, cx: &Context) -> io::Result<Unreturned> {
        let effect = this.entry(cx);
        this.effects.append(&effect)?;
        Ok(Unreturned(this.clone(), Some(effect)))
    }
}

/// Makes the trouble.
pub(super) fn make(trouble: Trouble) -> Result<(), Failure> {
    match trouble {
        Trouble::None => Ok(()),
        Trouble::Refused => Err(Failure::permanent("refused, as planned")),
        Trouble::FailsOnce => Err(Failure::from("fails once, as planned")),
        Trouble::PanicsOnce => std::panic::resume_unwind(Box::new("panics once, as planned")),
    }
}

/// The kernel's wall clock, which no library moves: the time at which it makes a file.
fn by_the_kernel(dir: &Path) -> io::Result<(u64, Instant)> {
    let path = dir.join(format!("clock-{}", std::process::id()));
    let made = File::create(&path)?.metadata()?.modified()?;
    let now = Instant::now();
    std::fs::remove_file(path)?;
    let at = made.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    Ok((u64::try_from(at).unwrap_or(u64::MAX), now))
}
