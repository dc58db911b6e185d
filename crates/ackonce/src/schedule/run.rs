//! The loop: ask the store for the time, start the slots that are due, sleep to the next one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::handler::Handler;
use crate::observe::Throttle;
use crate::runner::Runner;
use crate::ticket::{Job, Why};

use super::clock::StoreClock;
use super::first_slot::{FirstSlot, first_slot};
use super::skip::{is_skipped, skip};
use super::slot::{Missed, Slot, Utc};
use super::slots::Schedule;

/// A job under way.
pub(super) struct Run<H> {
    pub(super) schedule: Schedule,
    pub(super) missed: Missed,
    pub(super) look_back: u32,
    pub(super) shutdown: CancellationToken,
    pub(super) runner: Runner<Slot, H>,
    pub(super) clock: StoreClock,
    pub(super) progress: Progress,
}

/// The slots so far.
#[derive(Default)]
pub(super) struct Progress {
    /// Tells the slots that count.
    entry: Option<FirstSlot>,
    /// The latest slot that was started here.
    last: Option<SystemTime>,
    runs: JoinSet<Result<()>>,
    said: Arc<Throttles>,
}

/// Lines that may repeat with each slot.
#[derive(Debug, Default)]
pub(super) struct Throttles {
    pub(super) skipped: Throttle,
    found_skipped: Throttle,
    warn_unreached: Throttle,
}

/// The slots that have begun since the last look, by their treatment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// It does not wait for those that were missed.
    current: Option<Slot>,
    /// To be run one after another, oldest first.
    missed: Vec<Slot>,
    skip: Vec<Slot>,
}

impl<H: Handler<Slot>> Run<H> {
    pub(super) async fn until_shutdown(mut self) -> Result<()> {
        let ended = self.slots().await;
        self.runner.stop();
        let drained = async { while self.progress.runs.join_next().await.is_some() {} };
        if tokio::time::timeout(self.runner.settings().shutdown_timeout, drained).await.is_err() {
            let scope = self.runner.scope().name();
            tracing::warn!(target: "ackonce", scope, "Settings::shutdown_timeout is over: running slots are cancelled");
            self.runner.abort();
            while self.progress.runs.join_next().await.is_some() {}
        }
        ended
    }

    async fn slots(&mut self) -> Result<()> {
        let shutdown = self.shutdown.clone();
        loop {
            let next = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                next = self.start_due() => next?,
            };
            let (clock, runs) = (&self.clock, &mut self.progress.runs);
            let mut wait = std::pin::pin!(clock.wait_for(next));
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(()),
                    Some(run) = runs.join_next() => ended(run)?,
                    () = &mut wait => break,
                }
            }
        }
    }

    /// Starts the slots that are due by the store's clock; when the next one begins.
    async fn start_due(&mut self) -> Result<Option<SystemTime>> {
        let now = self.clock.ask(&self.runner).await?;
        let next = self.schedule.after(now);
        let entry = match self.progress.entry.take() {
            Some(entry) if next.is_none_or(|next| entry.first <= next) => entry,
            // At start, and again if the store's clock was ahead then and has been set right.
            _ => {
                let entry = first_slot(&self.runner, &self.schedule, now).await?;
                let next = next.map_or_else(|| "none".to_owned(), |next| Utc(next).to_string());
                tracing::info!(target: "ackonce", scope = self.runner.scope().name(), schedule = %self.schedule,
                    next, missed = ?self.missed, look_back = self.look_back, "the schedule starts");
                entry
            }
        };
        let Due { current, missed, skip: to_skip } = self.due(now, entry.since(now));
        self.progress.entry = Some(entry);
        let (runner, said) = (self.runner.clone(), self.progress.said.clone());
        if let Some(slot) = current {
            self.progress.runs.spawn(run_current(runner.clone(), slot, said.clone()));
        }
        if !missed.is_empty() {
            self.progress.runs.spawn(in_turn(runner.clone(), missed));
        }
        if !to_skip.is_empty() {
            self.progress.runs.spawn(async move {
                let begun = skip(&runner, &to_skip, &said.skipped).await?;
                in_turn(runner, begun).await
            });
        }
        Ok(next)
    }

    /// The slots that have begun since the last look. A clock that was set back has them looked at again, as far as the
    /// look-back goes; the records know better.
    fn due(&mut self, now: SystemTime, since: SystemTime) -> Due {
        let remembered = now.checked_sub(self.runner.settings().window).unwrap_or(SystemTime::UNIX_EPOCH);
        let before = since.checked_sub(Duration::from_millis(1)).unwrap_or(since);
        let seen = self.progress.last.filter(|last| *last <= now).unwrap_or(before);
        let after = seen.max(before).max(remembered);
        let most = self.look_back.saturating_add(1);
        let mut slots = self.schedule.between(after, now, most.saturating_add(1));
        if slots.len() > most as usize {
            slots.remove(0);
            // At a start they may well have run.
            if self.progress.last.is_some_and(|last| last == after) {
                self.warn_unreached(slots.first());
            }
        }
        let Some(current) = slots.pop() else { return Due::default() };
        self.progress.last = Some(current.start);
        plan(self.missed, current, slots, now)
    }

    fn warn_unreached(&self, oldest: Option<&Slot>) {
        let (look_back, scope) = (self.look_back, self.runner.scope().name());
        let (Some(after), Some(before)) = (self.progress.last, oldest) else { return };
        self.progress.said.warn_unreached.warn(|more| {
            tracing::warn!(target: "ackonce", scope, after = %Utc(after), before = %Utc(before.start), look_back, more,
                "slots between these have passed by, more than ScheduledJob::with_look_back reaches over: unless another \
                 host was there for them, they do not run");
        });
    }
}

/// The policy, applied to the current slot and to those before it.
fn plan(policy: Missed, current: Slot, before: Vec<Slot>, now: SystemTime) -> Due {
    let runs = policy != Missed::Skip || current.is_on_time(now);
    let mut due = Due { current: runs.then_some(current), ..Due::default() };
    match policy {
        Missed::All => due.missed = before,
        Missed::Once | Missed::Skip => due.skip = before,
    }
    if !runs {
        due.skip.push(current);
    }
    due
}

fn ended(run: std::result::Result<Result<()>, JoinError>) -> Result<()> {
    run.unwrap_or_else(|_| Err(Error::new(ErrorKind::Protocol, "a slot panicked outside its handler")))
}

async fn run_current<H: Handler<Slot>>(
    runner: Runner<Slot, H>,
    slot: Slot,
    said: Arc<Throttles>,
) -> Result<()> {
    let Some(receipt) = settle(&runner, slot).await? else { return Ok(()) };
    if receipt.record().is_some_and(is_skipped) {
        said.found_skipped.warn(|more| {
            tracing::warn!(target: "ackonce", scope = runner.scope().name(), slot = %Utc(slot.start), more,
                "the current slot is recorded as skipped: another host has another policy for missed slots, or the \
                 store's clock was ahead. Redrive its record to have it run");
        });
    }
    Ok(())
}

/// Slots one after another, each until it is settled.
async fn in_turn<H: Handler<Slot>>(runner: Runner<Slot, H>, slots: Vec<Slot>) -> Result<()> {
    for slot in slots {
        if settle(&runner, slot).await?.is_none() {
            break;
        }
    }
    Ok(())
}

/// Takes one slot through its life; `None` if the job was shut down first.
async fn settle<H: Handler<Slot>>(
    runner: &Runner<Slot, H>,
    slot: Slot,
) -> Result<Option<crate::ticket::Receipt<Slot>>> {
    let key = runner.key(slot.id()).map_err(super::invalid)?;
    match runner.process(Job::new(key, slot)).await {
        Ok(receipt) => Ok(Some(receipt)),
        Err(unsettled) => match unsettled.why() {
            Why::Fatal(error) => Err(error.clone()),
            _ => Ok(None),
        },
    }
}
