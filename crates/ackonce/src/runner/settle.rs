//! From answers to receipts: the state that each answer leads to, and one trip for the settlements of a group.

use std::time::Duration;

use bytes::Bytes;

use crate::chain::chain;
use crate::claim::{Lease, Previous};
use crate::class::Class;
use crate::error::{ErrorKind, Repeat};
use crate::failure::Failure;
use crate::handler::{Answer, EffectKind};
use crate::heartbeat::Hold;
use crate::observe::decision;
use crate::settings::{OnFailure, OnUnknown};
use crate::settle::{Attempt, Settle, Settled, Settlement};
use crate::ticket::{Delivery, SettledAs, Stage, Ticket, Why};

use super::Inner;
use super::state::{Group, Release, State, each};

impl<D: Delivery, H: Send + Sync> Inner<D, H> {
    /// The state after a handler's answer.
    pub(super) fn after_answer(&self, mut ticket: Ticket<D>, answer: Answer, hold: &Hold) -> State<D> {
        if self.metrics.class == Class::AtMostOnce {
            return self.after_only_run(ticket, answer);
        }
        let answer = answer.map_err(|failure| {
            let failure = self.settings.failure_kinds.sort(failure);
            match ticket.lease.dropped_step() {
                Some(step) => failure.after_dropped(&step),
                None => failure,
            }
        });
        if let Some(run) = &ticket.span {
            run.answered(&answer);
        }
        let failures = &mut ticket.job.failures;
        *failures = match &answer {
            Err(Failure::Infrastructure(_) | Failure::Store(_) | Failure::Fenced) => {
                failures.saturating_add(1)
            }
            // Counted on if the store then says that the claim is gone.
            Ok(_) => *failures,
            Err(_) => 0,
        };
        let attempt = ticket.lease.attempt;
        let is_last = attempt >= self.settings.attempts && self.buries;
        let failure = match answer.map(|effect| effect.0) {
            Ok(EffectKind::Recorded) => return State::Ended(Ok(ticket.job.receipt(SettledAs::Run))),
            Ok(EffectKind::Done(outcome)) => return State::Completing(ticket, outcome),
            Err(failure) => failure,
        };
        let asked = failure.asked_pause();
        let bury = |ticket, reason, uncertain| self.burying(ticket, reason, uncertain, Some(hold));
        match failure {
            Failure::Permanent(error) => bury(ticket, chain(&*error).to_string(), false),
            Failure::Retry(error) if is_last => {
                bury(ticket, format!("failed {attempt} times, last: {}", chain(&*error)), false)
            }
            Failure::Retry(error) => {
                self.releasing(ticket, Attempt::Counts, asked, chain(&*error).to_string())
            }
            Failure::Infrastructure(error) => {
                self.releasing(ticket, Attempt::Refunded, asked, chain(&*error).to_string())
            }
            Failure::Unknown(error) => match self.settings.on_unknown {
                OnUnknown::Park => bury(ticket, format!("outcome unknown: {}", chain(&*error)), true),
                OnUnknown::RunAgain if is_last => {
                    let reason =
                        format!("outcome unknown after {attempt} attempts, last: {}", chain(&*error));
                    bury(ticket, reason, true)
                }
                OnUnknown::RunAgain => {
                    self.releasing(ticket, Attempt::Counts, asked, chain(&*error).to_string())
                }
                // The probe is asked once the lease has ended and the claim is granted again.
                OnUnknown::Ask(_) => self.unreleased(ticket, false),
            },
            // Not released: a handler that was dropped midway may have left work behind that still acts under its lease.
            Failure::Cancelled(_) | Failure::Fenced => self.unreleased(ticket, false),
            Failure::Store(error) if error.repeat() == Repeat::Never => {
                State::unsettled(ticket.job, Why::Fatal(error))
            }
            // A commit whose answer was lost is found as done, or the claim goes on. If the record was redriven
            // meanwhile, the answer is busy and the token is given up there.
            Failure::Store(_) => self.unreleased(ticket, true),
        }
    }

    /// [`Class::AtMostOnce`]: it was recorded before, and a failure changes nothing.
    fn after_only_run(&self, ticket: Ticket<D>, answer: Answer) -> State<D> {
        if let Some(run) = &ticket.span {
            run.answered(&answer);
        }
        if let Err(failure) = answer {
            decision!(warn, self.metrics, "failed", ticket.job.key, Some(&ticket.lease), error = %failure,
                place = ticket.job.delivery.place());
        }
        State::Ended(Ok(ticket.job.receipt(SettledAs::Run)))
    }

    /// A failed run, whose claim is given back to run again: no earlier than its target has asked for.
    fn releasing(&self, ticket: Ticket<D>, attempt: Attempt, asked: Duration, reason: String) -> State<D> {
        let is_past = attempt == Attempt::Counts && ticket.lease.attempt >= self.settings.attempts;
        let wait = if is_past { self.settings.backoff.max } else { self.pause(&ticket) }.max(asked);
        if is_past {
            self.warn_past_attempts(&ticket, &reason, wait);
        }
        State::Releasing(ticket, Box::new(Release::Failed { attempt, reason, wait }))
    }

    /// Claimed again after a back-off, with the claim left to its lease: with the same token if the store may still know
    /// it, else with a new one.
    fn unreleased(&self, ticket: Ticket<D>, same_token: bool) -> State<D> {
        ticket.job.delivery.note(Stage::Retrying);
        let wait = self.pause(&ticket);
        State::Waiting(if same_token { ticket.job } else { ticket.job.renewed() }, wait)
    }

    /// The back-off after a run: attempts are counted by the store, failures that are not the message's here.
    fn pause(&self, ticket: &Ticket<D>) -> Duration {
        self.settings.backoff.after(ticket.lease.attempt.max(ticket.job.failures))
    }

    /// Says that a message has used up its attempts and is not buried, for there is no place.
    pub(super) fn warn_past_attempts(&self, ticket: &Ticket<D>, reason: &str, wait: Duration) {
        self.metrics.past_attempts.add(1);
        let (job, attempt) = (&ticket.job, ticket.lease.attempt);
        self.past_attempts.warn(|more| {
            tracing::warn!(target: "ackonce", scope = job.key.scope().name(), id = %job.key.id().escape_ascii(), attempt,
                reason, wait_ms = wait.as_millis(), more, place = job.delivery.place(),
                "Settings::attempts are used up, and there is no dead-letter place: the message is not given up but run \
                again; with a dead-letter place it would be buried there");
        });
    }

    /// Settles the claims among these states in one trip; the other states pass. `hold` keeps the claims meanwhile.
    pub(super) async fn settle(&self, states: Group<State<D>>, hold: Option<&Hold>) -> Group<State<D>> {
        let settlements = each(states.iter().filter_map(|state| self.settlement(state)));
        if settlements.is_empty() {
            return states;
        }
        let mut answers = self.settle_all(&settlements).await.into_iter();
        let mut next = || answers.next().unwrap_or(Ok(Settled::Lost));
        each(states.into_iter().map(|state| match state {
            State::Completing(ticket, _) => self.after_completion(ticket, next(), hold),
            State::Releasing(ticket, release) => self.after_release(ticket, *release, next()),
            other => other,
        }))
    }

    fn settlement(&self, state: &State<D>) -> Option<Settlement> {
        let (ticket, action) = match state {
            State::Completing(ticket, outcome) => (ticket, self.complete(outcome.clone())),
            State::Releasing(ticket, release) => (ticket, self.release(ticket, release)),
            _ => return None,
        };
        Some(Settlement::new(&ticket.lease, action))
    }

    fn complete(&self, outcome: Option<Bytes>) -> Settle {
        Settle::Complete { window: self.settings.window, outcome }
    }

    fn release(&self, ticket: &Ticket<D>, release: &Release) -> Settle {
        let (lease, settings) = (&ticket.lease, &self.settings);
        let Release::Failed { attempt, wait, .. } = release else {
            return self.hand_back(Attempt::Refunded);
        };
        // A failure that does not count and goes back to its sender leaves no trail, unless an earlier attempt or a step is known:
        // the trail would hold nothing but the payload's fingerprint, and the sender may mend the payload and send it
        // again under the same ID.
        let is_sole = lease.attempt == 1 && lease.previous != Previous::Vanished && !lease.has_progress();
        let window = match (settings.on_failure, attempt) {
            (OnFailure::HandBack, Attempt::Refunded) if is_sole => Duration::ZERO,
            _ => settings.window,
        };
        let not_before = match settings.on_failure {
            // Nobody waits here any more, and the next process need not.
            _ if self.stop.is_on() => Duration::ZERO,
            OnFailure::Retry => *wait,
            OnFailure::HandBack => ticket.job.delivery.returns_in(*attempt),
        };
        Settle::Release { attempt: *attempt, window, not_before }
    }

    fn after_completion(
        &self,
        ticket: Ticket<D>,
        answer: Result<Settled, Why>,
        hold: Option<&Hold>,
    ) -> State<D> {
        let (job, lease): (_, Option<&Lease>) = (&ticket.job, Some(&ticket.lease));
        if matches!(answer, Ok(Settled::Yes)) {
            decision!(debug, self.metrics, "completed", job.key, lease);
            let how = if ticket.lease.is_stale() { SettledAs::Stale } else { SettledAs::Run };
            return State::Ended(Ok(ticket.job.receipt(how)));
        }
        self.metrics.completed_not_recorded.add(1);
        if let Some(run) = &ticket.span {
            run.ends("completed-but-not-recorded");
            run.fails("not-recorded", "its claim was gone, or the store did not answer");
        }
        let place = job.delivery.place();
        decision!(warn, self.metrics, "completed-but-not-recorded", job.key, lease, place);
        match answer {
            // The trouble of this message alone.
            Err(Why::Fatal(error)) if error.kind() == ErrorKind::Invalid => {
                let text = "its effect happened, and the store cannot keep its outcome";
                self.burying(ticket, format!("{text}: {}", chain(&error)), true, hold)
            }
            Err(Why::Unavailable(error)) => self.not_settled(ticket.job, Err(Why::NotRecorded(error))),
            answer => self.not_settled(ticket.job, answer),
        }
    }

    /// A release that the store did not confirm makes a difference to a failure alone: other claims are left to the lease.
    fn after_release(&self, ticket: Ticket<D>, release: Release, answer: Result<Settled, Why>) -> State<D> {
        let Ticket { job, lease, .. } = ticket;
        let (attempt, reason, wait) = match release {
            Release::Failed { attempt, reason, wait } => (attempt, reason, wait),
            Release::HandedBack(why) => return State::unsettled(job, why),
            Release::Isolated { wait } => {
                job.delivery.note(Stage::Retrying);
                let mut job = job.renewed();
                if wait.is_zero() {
                    return State::Quarantined(job);
                }
                job.paced = true;
                return State::Waiting(job, wait);
            }
        };
        if let Err(why) = answer {
            return State::unsettled(job, why);
        }
        let place = job.delivery.place();
        if self.settings.on_failure == OnFailure::HandBack {
            decision!(info, self.metrics, "failed", job.key, Some(&lease), reason, place);
            let infrastructure = attempt == Attempt::Refunded;
            return State::unsettled(job, Why::Failed { reason, attempt: lease.attempt, infrastructure });
        }
        self.metrics.retried.add(1);
        job.delivery.note(Stage::Retrying);
        let wait_ms = wait.as_millis();
        decision!(info, self.metrics, "retried", job.key, Some(&lease), reason, wait_ms, place);
        State::Waiting(job.renewed(), wait)
    }
}
