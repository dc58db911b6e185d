//! One arm from start to verdict.

use std::thread;
use std::time::{Duration, Instant};

use ackonce::CancellationToken;
use ackonce_testkit::crash::History;
use anyhow::{Context as _, Result, bail};

use super::arm::ArmFiles;
use super::broker::{Position, Watcher};
use super::counter::{DELIVERED, FileCounter, PROGRESS};
use super::fleet::Fleet;
use super::plan::{Blow, Strike};
use super::progress::Bar;
use super::worker::WorkerOrder;

const TICK: Duration = Duration::from_millis(2);
const LOOK: Duration = Duration::from_millis(150);
/// Nothing may stand still for so long; rebalances take seconds.
const STALLED: Duration = Duration::from_secs(60);

/// One arm's run.
pub(crate) struct Contest<'c> {
    pub(crate) order: WorkerOrder,
    pub(crate) workers: u32,
    pub(crate) strikes: &'c [Strike],
    /// The time that a paused worker stands still.
    pub(crate) pause: Duration,
    /// The quiet time that marks the end.
    pub(crate) quiet: Duration,
    pub(crate) watcher: Watcher,
    pub(crate) bar: Bar,
    pub(crate) interrupted: CancellationToken,
}

/// It was ended from outside: by Ctrl-C, or because another arm failed.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Its events.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) history: History,
    pub(crate) took: Duration,
}

impl Contest<'_> {
    /// Runs to the end of its messages.
    pub(crate) fn run(&self) -> Result<Ended> {
        let ended = self.fight();
        if ended.is_err() {
            // The others would be for nothing.
            self.interrupted.cancel();
        }
        ended.with_context(|| format!("the run of {}", self.order.arm.name()))
    }

    fn fight(&self) -> Result<Ended> {
        let started = Instant::now();
        let mut fleet = Fleet::start(self.order.args()?, self.order.files.log(), self.workers)?;
        let mut strikes = self.strikes.iter().peekable();
        let mut watch = Watch::new();
        // Progress at the last strike: the next one waits for more.
        let mut struck = 0;
        loop {
            if self.interrupted.is_cancelled() {
                return Err(Interrupted.into());
            }
            fleet.resume(Instant::now())?;
            let progress = self.progress();
            let due = |s: &&Strike| progress >= s.after && progress > struck && fleet.is_up(s.worker);
            if let Some(strike) = strikes.next_if(due) {
                thread::sleep(strike.delay);
                struck = self.progress();
                match strike.blow {
                    Blow::Kill => fleet.kill(strike.worker)?,
                    Blow::Pause => fleet.pause(strike.worker, self.pause)?,
                }
                self.bar.struck(strike.blow);
            }
            if watch.due() {
                fleet.look_after()?;
                let position = self.watcher.position();
                self.bar.at(position.done);
                let at_end = position.at_end && fleet.is_awake();
                watch.see((self.delivered(), progress, position), &fleet)?;
                if at_end && watch.quiet() >= self.quiet {
                    break;
                }
            }
            thread::sleep(TICK);
        }
        self.bar.done();
        let took = started.elapsed().saturating_sub(watch.quiet());
        let history = fleet.end()?;
        // The unacknowledged messages of its workers are back by now.
        let left = self.watcher.position();
        if !left.at_end {
            bail!("it was not through, although nothing happened any more: {}", left.text);
        }
        Ok(Ended { history, took })
    }

    fn files(&self) -> &ArmFiles {
        &self.order.files
    }

    fn progress(&self) -> u64 {
        FileCounter::read(&self.files().counter(PROGRESS))
    }

    fn delivered(&self) -> u64 {
        FileCounter::read(&self.files().counter(DELIVERED))
    }
}

/// Notices when nothing happens any more.
struct Watch {
    looked: Instant,
    seen: Option<(u64, u64, Position)>,
    since: Instant,
}

impl Watch {
    fn new() -> Self {
        Self { looked: Instant::now(), seen: None, since: Instant::now() }
    }

    fn due(&mut self) -> bool {
        let due = self.looked.elapsed() >= LOOK;
        if due {
            self.looked = Instant::now();
        }
        due
    }

    /// The time since the last event.
    fn quiet(&self) -> Duration {
        self.since.elapsed()
    }

    fn see(&mut self, now: (u64, u64, Position), fleet: &Fleet) -> Result<()> {
        if self.seen.as_ref() != Some(&now) {
            self.seen = Some(now);
            self.since = Instant::now();
        } else if self.since.elapsed() >= STALLED {
            let (delivered, effects, position) = now;
            bail!(
                "nothing happened for {} s, after {delivered} deliveries and {effects} effects, with {}; the \
                 workers' last lines:\n{}",
                STALLED.as_secs(),
                position.text,
                fleet.tail()
            );
        }
        Ok(())
    }
}
