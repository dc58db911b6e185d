//! From jobs to claims: one trip for a group of deliveries, and the state that each answer leads to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::claim::{ClaimRequest, Claimed, Previous};
use crate::class::Class;
use crate::error::{Error, ErrorKind, Result};
use crate::heartbeat::{Grant, is_nearly_over};
use crate::observe::{decision, trace};
use crate::record;
use crate::settings::{OnMismatch, OnUnknown};
use crate::switch::Switch;
use crate::ticket::{Delivery, Job, Stage, Ticket, Why};

use super::Inner;
use super::rare::rare;
use super::state::{Group, Release, State, each};
use super::trip::Tries;

/// The longest wait before a message that another delivery holds is claimed again.
const BUSY_MAX: Duration = Duration::from_secs(1);

impl<D: Delivery, H: Send + Sync> Inner<D, H> {
    /// Claims them in one trip; one state each, in order. Suspects are handed back first, so that none of them is
    /// charged with the crash of another.
    pub(super) async fn claim(&self, jobs: Group<Job<D>>) -> Group<State<D>> {
        let mut states = self.claim_trip(jobs).await;
        let is_suspect =
            |state: &State<D>| matches!(state, State::Claimed(ticket) if self.is_suspect(ticket));
        if !states.iter().any(is_suspect) {
            return states;
        }
        states = states
            .into_iter()
            .map(|state| match state {
                State::Claimed(ticket) if self.is_suspect(&ticket) => {
                    let wait = self.wait_past_attempts(&ticket);
                    State::Releasing(ticket, Box::new(Release::Isolated { wait }))
                }
                other => other,
            })
            .collect();
        rare(self.settle(states, None)).await
    }

    /// The same, suspects included.
    pub(super) async fn claim_trip(&self, jobs: Group<Job<D>>) -> Group<State<D>> {
        if self.stop.is_on() {
            return refuse(jobs, &Why::Stopped);
        }
        jobs.iter().for_each(|job| job.delivery.note(Stage::Claiming));
        let requests = each(jobs.iter().map(|job| ClaimRequest {
            key: job.key.clone(),
            token: job.token,
            lease: self.settings.lease,
            window: self.settings.window,
            fingerprint: job.fingerprint,
        }));
        let (mut tries, time) = (Tries::default(), &self.metrics.claim_time);
        let call = || self.store.claim_unboxed(&requests);
        match self.trip(&self.stop, time, &mut tries, call).await {
            Ok((answers, sent)) => {
                each(jobs.into_iter().zip(answers).map(|(job, answer)| self.answer_of(job, answer, sent)))
            }
            Err(why) => refuse(jobs, &why),
        }
    }

    /// The state after the answer to a claim that was sent at that moment.
    fn answer_of(&self, mut job: Job<D>, answer: Result<Claimed>, sent: Instant) -> State<D> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.unclaimable(job, error),
        };
        match answer {
            Claimed::Acquired(lease) => {
                job.busy = None;
                let lease = Arc::new(Grant::new(lease, Switch::default()));
                State::Claimed(Ticket { job, lease, claimed: sent, span: None })
            }
            Claimed::Done(record) | Claimed::Mismatch(record)
                if record.state == record::State::Buried && job.is_letter() =>
            {
                State::Redriving(job)
            }
            Claimed::Done(record) => {
                self.metrics.duplicate(&job.key, &record, || job.delivery.place());
                trace::duplicate(&job.delivery, &job.key, self.metrics.class, &record);
                State::Ended(Ok(job.duplicate(record)))
            }
            Claimed::Busy { free_in } => {
                self.metrics.busy.add(1);
                decision!(debug, self.metrics, "busy", job.key, None, free_in_ms = free_in.as_millis());
                self.busy(job, free_in)
            }
            Claimed::Mismatch(record) => {
                self.metrics.mismatch.add(1);
                let (state, place) = (record.state.as_str(), job.delivery.place());
                decision!(warn, self.metrics, "mismatch", job.key, None, state, place);
                self.mismatch(job)
            }
        }
    }

    /// The state of a delivery whose message another one holds.
    fn busy(&self, mut job: Job<D>, free_in: Duration) -> State<D> {
        let (waits, since) = job.busy.unwrap_or_else(|| (0, Instant::now()));
        let waits = waits.saturating_add(1);
        job.busy = Some((waits, since));
        job.delivery.note(Stage::Busy);
        let pause = self.settings.backoff.after(waits).min(BUSY_MAX);
        let (job, wait) = match free_in.is_zero() {
            // Nobody holds it, and this token is refused: it is that of a claim that was granted and has been released
            // since (by hand, after a lost answer). It would be refused for ever, as the ghost of that claim. A new
            // token can run nothing twice: whichever of the two is granted, the other finds it claimed or settled.
            true => (job.renewed(), pause),
            // Its own token: the claim was not granted, and may yet be if this was a late copy.
            false => (job, pause.min(free_in.saturating_add(Duration::from_millis(1)))),
        };
        // All of the time-out is waited for, and the store is asked at its end.
        match self.settings.busy_timeout.saturating_sub(since.elapsed()) {
            Duration::ZERO => State::unsettled(job, Why::Busy { free_in }),
            left => State::Waiting(job, wait.min(left)),
        }
    }

    fn mismatch(&self, job: Job<D>) -> State<D> {
        match self.settings.on_mismatch {
            OnMismatch::HandBack => State::unsettled(job, Why::Mismatch),
            OnMismatch::Bury if self.buries => self.bury_mismatch(job),
            // Or its payload would be given up.
            OnMismatch::Fail | OnMismatch::Bury => {
                let error = mismatch_error(&job);
                State::unsettled(job, Why::Fatal(error))
            }
        }
    }

    fn is_suspect(&self, Ticket { lease, .. }: &Ticket<D>) -> bool {
        let most = if self.buries { self.settings.attempts } else { u32::MAX };
        lease.previous == Previous::Vanished && (self.settings.isolate_from()..=most).contains(&lease.attempt)
    }

    /// The wait of a message that may kill its worker, has used up its attempts and cannot be buried: the
    /// others run meanwhile, however often the worker dies.
    fn wait_past_attempts(&self, ticket: &Ticket<D>) -> Duration {
        if ticket.lease.attempt <= self.settings.attempts || ticket.job.paced {
            return Duration::ZERO;
        }
        let wait = self.settings.backoff.max;
        let reason = "its attempts ended without a word: it may be what kills the worker";
        self.warn_past_attempts(ticket, reason, wait);
        wait
    }

    /// The state of a claimed message, just before its handler would run.
    pub(super) fn after_claim(&self, ticket: Ticket<D>) -> State<D> {
        if let Some(why) = self.unwanted(&ticket.job) {
            return State::Releasing(ticket, Box::new(Release::HandedBack(why)));
        }
        // At two thirds of its lease a handler is dropped, so none is started then: its first step may be a payment, and
        // somebody else may have the message by now. Claimed again with its token, it is answered as before.
        if is_nearly_over(ticket.claimed.elapsed(), self.settings.lease) {
            self.store_outage.warn(|more| {
                tracing::warn!(target: "ackonce", scope = self.scope.name(), more, lease_ms = self.settings.lease.as_millis(),
                    "a claim was answered after two thirds of Settings::lease: its handler is not started, it is claimed again");
            });
            return State::Waiting(ticket.job, Duration::ZERO);
        }
        if let Some(reason) = ticket.job.dead_lettered.clone() {
            return self.burying(ticket, reason, false, None);
        }
        let (attempts, vanished) = (self.settings.attempts, ticket.lease.previous == Previous::Vanished);
        if ticket.lease.attempt > attempts && self.buries {
            let reason = match vanished {
                true => format!("{attempts} attempts ended without a word: it may be what kills the worker"),
                false => format!("failed {attempts} times; its burial was interrupted before"),
            };
            return self.burying(ticket, reason, vanished, None);
        }
        // An inbox has no unknown outcome: an effect that did not commit did not happen.
        if !vanished || self.metrics.class == Class::Inbox {
            return State::Running(ticket);
        }
        match &self.settings.on_unknown {
            OnUnknown::RunAgain => State::Running(ticket),
            OnUnknown::Park => self.burying(ticket, "outcome unknown: its worker vanished", true, None),
            OnUnknown::Ask(probe) => State::Probing(ticket, probe.clone()),
        }
    }
}

fn refuse<D>(jobs: Group<Job<D>>, why: &Why) -> Group<State<D>> {
    jobs.into_iter().map(|job| State::unsettled(job, why.clone())).collect()
}

/// The error of [`OnMismatch::Fail`].
fn mismatch_error<D>(job: &Job<D>) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!(
            "{:?} came with another payload than before: mend its sender's IDs, or choose a dead-letter place or another \
            Settings::on_mismatch",
            job.key
        ),
    )
}
