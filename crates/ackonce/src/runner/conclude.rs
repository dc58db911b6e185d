//! From answers to receipts: the meaning of each, and one settle trip for all of them.

use std::pin::pin;
use std::time::{Duration, Instant};

use crate::handler::EffectKind;
use crate::heartbeat::Hold;
use crate::observe::decide;
use crate::ticket::Why;
use crate::{
    Answer, Attempt, Delivery, Error, ErrorKind, Failure, Job, OnFailure, OnUnknown, Previous, Receipt,
    Repeat, Settle, Settled, SettledAs, Settlement, Stage, Ticket, Unsettled, chain,
};

use super::admit::{Patience, Trouble};
use super::bury::{Burying, is_refused};
use super::work::Handled;
use super::{Group, Inner, each};
use crate::settings::DAY;

/// The next step of a delivery.
pub(crate) enum Next<D> {
    /// It may be acknowledged.
    Settled(Receipt<D>),
    /// It is claimed again after this long.
    Later(Job<D>, Duration),
    /// It may have killed a worker: it runs when no other such message does.
    Alone(Job<D>),
    /// It goes to the dead-letter place. Boxed, as all that is rare.
    Bury(Box<Burying<D>>),
    /// It is a dead letter that has come back: its record is redriven, then it is claimed again.
    Redrive(Job<D>),
    /// It goes back unsettled.
    Stop(Unsettled<D>),
}

/// A handler's answer, as a request to the store.
enum Verdict {
    /// Recorded in the effect's own transaction.
    Recorded,
    /// The action, until it is asked for.
    Settle(Option<Settle>),
    /// Released, to run again after `wait` or to be handed back with the reason.
    Release {
        attempt: Attempt,
        reason: String,
        wait: Duration,
    },
    Bury {
        reason: String,
        uncertain: bool,
    },
    /// Claim again after a back-off: with the same token if the store may still know it, else with a new one.
    AskAgain {
        same_token: bool,
    },
    Fatal(Error),
}

impl<D: Delivery, H: Send + Sync> Inner<D, H> {
    /// Settles a group by its handler's answers. One answer per ticket, in order.
    pub(crate) fn conclude(
        &self,
        group: &mut Group<Ticket<D>>,
        handled: Handled,
    ) -> impl Future<Output = Group<Next<D>>> + Send {
        let Handled { answers, hold } = handled;
        let answers = group.iter_mut().zip(answers);
        let mut verdicts = each(answers.map(|(ticket, answer)| self.verdict(ticket, answer)));
        async move {
            let hold = &hold;
            let settlements = self.settlements(group, &mut verdicts);
            let settled = match settlements.is_empty() {
                true => Group::new(),
                false => self.settle(&settlements).await,
            };
            // One for each verdict that asks for one.
            let mut settled = settlements.into_iter().zip(settled);
            let next = |(ticket, verdict): (Ticket<D>, Verdict)| match verdict {
                Verdict::Recorded => Next::Settled(ticket.job.receipt(SettledAs::Run)),
                Verdict::Settle(_) => match settled.next() {
                    Some((settlement, answer)) => self.after(ticket, settlement.action, answer, hold),
                    None => self.not_settled(ticket.job, Ok(Settled::Lost)),
                },
                Verdict::Release { attempt, reason, wait } => match settled.next() {
                    Some((_, answer)) => self.released(ticket, attempt, reason, wait, answer),
                    None => self.not_settled(ticket.job, Ok(Settled::Lost)),
                },
                Verdict::Bury { reason, uncertain } => self.leave_to_bury(ticket, reason, uncertain, hold),
                Verdict::AskAgain { same_token } => {
                    ticket.job.delivery.note(Stage::Retrying);
                    let wait = self.pause(&ticket);
                    let job = if same_token { ticket.job } else { ticket.job.renewed() };
                    Next::Later(job, wait)
                }
                Verdict::Fatal(error) => Next::Stop(ticket.job.unsettled(Why::Fatal(error))),
            };
            each(std::mem::take(group).into_iter().zip(verdicts).map(next))
        }
    }

    /// The settlements that the verdicts ask for.
    fn settlements(&self, group: &[Ticket<D>], verdicts: &mut [Verdict]) -> Group<Settlement> {
        let mut settlements = Group::new();
        for (ticket, verdict) in group.iter().zip(verdicts) {
            let action = match verdict {
                Verdict::Settle(action) => action.take(),
                Verdict::Release { attempt, wait, .. } => Some(self.release_after(ticket, *attempt, *wait)),
                _ => None,
            };
            settlements.extend(action.map(|action| Settlement::new(&ticket.lease, action)));
        }
        settlements
    }

    /// The release after a run. A failure that does not count and goes back to its sender leaves no trail, unless an
    /// earlier attempt is known: the trail would hold nothing but the payload's fingerprint, and the sender may mend the
    /// payload and send it again under the same ID.
    fn release_after(&self, ticket: &Ticket<D>, attempt: Attempt, wait: Duration) -> Settle {
        let (lease, settings) = (&ticket.lease, &self.settings);
        let is_sole = lease.attempt == 1 && lease.previous != Previous::Vanished;
        let window = match (settings.on_failure, attempt) {
            (OnFailure::HandBack, Attempt::Refunded) if is_sole => Duration::ZERO,
            _ => settings.window,
        };
        let not_before = match settings.on_failure {
            // Nobody waits here any more, and the next process need not.
            _ if self.stop.is_on() => Duration::ZERO,
            OnFailure::Retry => wait,
            OnFailure::HandBack => ticket.job.delivery.returns_in(attempt),
        };
        Settle::Release { attempt, window, not_before }
    }

    fn verdict(&self, ticket: &mut Ticket<D>, answer: Answer) -> Verdict {
        let answer = answer.map_err(|failure| self.settings.failure_kinds.sort(failure));
        let window = self.settings.window;
        let failures = &mut ticket.job.failures;
        *failures = match &answer {
            Err(Failure::Infrastructure(_) | Failure::Store(_) | Failure::Fenced) => {
                failures.saturating_add(1)
            }
            // Counted on if the store then says that the claim is gone.
            Ok(_) => *failures,
            Err(_) => 0,
        };
        let ticket = &*ticket;
        let asked = answer.as_ref().err().map_or(Duration::ZERO, Failure::asked_pause).min(DAY);
        let attempt = ticket.lease.attempt;
        let used_up = attempt >= self.settings.attempts;
        let is_last = used_up && self.buries;
        let bury = |reason: String, uncertain| Verdict::Bury { reason, uncertain };
        let release = |attempt, reason: String| {
            let is_past = used_up && attempt == Attempt::Counts;
            let wait = if is_past { self.settings.backoff.max } else { self.pause(ticket) }.max(asked);
            if is_past {
                self.goes_on(ticket, &reason, wait);
            }
            Verdict::Release { attempt, reason, wait }
        };
        match answer.map(|effect| effect.0) {
            Ok(EffectKind::Recorded) => Verdict::Recorded,
            Ok(EffectKind::Done(outcome)) => Verdict::Settle(Some(Settle::Complete { window, outcome })),
            Err(Failure::Permanent(error)) => bury(chain(&*error).to_string(), false),
            Err(Failure::Retry(error)) if is_last => {
                bury(format!("failed {attempt} times, last: {}", chain(&*error)), false)
            }
            Err(Failure::Retry(error)) => release(Attempt::Counts, chain(&*error).to_string()),
            Err(Failure::Infrastructure(error)) => release(Attempt::Refunded, chain(&*error).to_string()),
            Err(Failure::Unknown(error)) => match self.settings.on_unknown {
                OnUnknown::Park => bury(format!("outcome unknown: {}", chain(&*error)), true),
                OnUnknown::RunAgain if is_last => {
                    bury(format!("outcome unknown after {attempt} attempts, last: {}", chain(&*error)), true)
                }
                OnUnknown::RunAgain => release(Attempt::Counts, chain(&*error).to_string()),
                // The probe is asked once the lease has ended and the claim is granted again.
                OnUnknown::Ask(_) => Verdict::AskAgain { same_token: false },
            },
            // Not released: a handler that was dropped midway may have left work behind that still acts under its lease.
            Err(Failure::Cancelled(_) | Failure::Fenced) => Verdict::AskAgain { same_token: false },
            Err(Failure::Store(error)) if error.repeat() == Repeat::Never => Verdict::Fatal(error),
            // A commit whose answer was lost is found as done, or the claim goes on. If the record was redriven
            // meanwhile, the answer is busy and the token is given up there.
            Err(Failure::Store(_)) => Verdict::AskAgain { same_token: true },
        }
    }

    /// The back-off after a run: attempts are counted by the store, failures that are not the message's here.
    fn pause(&self, ticket: &Ticket<D>) -> Duration {
        self.settings.backoff.after(ticket.lease.attempt.max(ticket.job.failures))
    }

    /// Settles in one trip, repeated until the store has answered. An error is final.
    pub(crate) fn settle(
        &self,
        settlements: &[Settlement],
    ) -> impl Future<Output = Group<Result<Settled, Why>>> + Send {
        let mut patience = Patience::default();
        async move {
            loop {
                if self.abort.is_on() {
                    return all(settlements, &Why::Stopped);
                }
                let sent = Instant::now();
                let answer = self.attempt(&patience, pin!(self.store.settle_unboxed(settlements))).await;
                let Some(answer) = answer else { return all(settlements, &Why::Stopped) };
                self.meters.settle_time.record(sent.elapsed());
                match self.store_answer(answer, &mut patience).await {
                    Ok(answers) => {
                        let answers: Group<crate::Result<Settled>> = each(answers);
                        if answers
                            .iter()
                            .all(|answer| !matches!(answer, Err(e) if e.kind() == ErrorKind::Locked))
                        {
                            return each(answers.into_iter().map(|a| a.map_err(Why::Fatal)));
                        }
                        return Box::pin(self.settle_locked(settlements, answers, patience)).await;
                    }
                    Err(Trouble::End(why)) => return all(settlements, &why),
                    Err(Trouble::Again) => {}
                }
            }
        }
    }

    /// Settles those whose records another transaction holds, one by one. The others have their answers, and are not sent
    /// again: somebody may have claimed a released one since.
    async fn settle_locked(
        &self,
        settlements: &[Settlement],
        answers: Group<crate::Result<Settled>>,
        mut patience: Patience,
    ) -> Group<Result<Settled, Why>> {
        let mut settled = Group::new();
        for (settlement, mut answer) in settlements.iter().zip(answers) {
            settled.push(loop {
                match answer {
                    Ok(answer) => break Ok(answer),
                    Err(error) if error.repeat() == Repeat::Never => break Err(Why::Fatal(error)),
                    Err(error) => {
                        if let Trouble::End(why) = self.trouble(error, &mut patience).await {
                            break Err(why);
                        }
                    }
                }
                let sole = std::slice::from_ref(settlement);
                let again = self.attempt(&patience, pin!(self.store.settle_unboxed(sole))).await;
                let Some(again) = again else { break Err(Why::Stopped) };
                let none = || Err(Error::new(ErrorKind::Protocol, "the store did not answer a settlement"));
                answer = again.and_then(|answers| answers.into_iter().next().unwrap_or_else(none));
            });
        }
        settled
    }

    pub(crate) fn after(
        &self,
        ticket: Ticket<D>,
        action: Settle,
        answer: Result<Settled, Why>,
        hold: &Hold,
    ) -> Next<D> {
        let (job, lease) = (&ticket.job, &ticket.lease);
        match (action, answer) {
            (Settle::Complete { .. }, Ok(Settled::Yes)) => {
                decide!(debug, self.meters, "completed", job.key, Some(lease));
                Next::Settled(ticket.job.receipt(SettledAs::Run))
            }
            (Settle::Bury { reason, .. }, Ok(Settled::Yes)) => {
                self.meters.buried.add(1);
                decide!(
                    warn,
                    self.meters,
                    "buried",
                    job.key,
                    Some(lease),
                    reason,
                    place = job.delivery.place()
                );
                Next::Settled(ticket.job.receipt(SettledAs::Buried))
            }
            (Settle::Complete { .. }, answer) => {
                self.meters.completed_not_recorded.add(1);
                let place = job.delivery.place();
                decide!(warn, self.meters, "completed-but-not-recorded", job.key, Some(lease), place);
                if let Some(error) = is_refused(&answer) {
                    let reason = format!(
                        "its effect happened, and the store cannot keep its outcome: {}",
                        chain(error)
                    );
                    return self.leave_to_bury(ticket, reason, true, hold);
                }
                let answer = answer.map_err(|why| match why {
                    Why::Unavailable(error) => Why::NotRecorded(error),
                    why => why,
                });
                self.not_settled(ticket.job, answer)
            }
            (_, answer) => self.not_settled(ticket.job, answer),
        }
    }

    fn released(
        &self,
        ticket: Ticket<D>,
        counted: Attempt,
        reason: String,
        wait: Duration,
        answer: Result<Settled, Why>,
    ) -> Next<D> {
        let Ticket { job, lease, .. } = ticket;
        if let Err(why) = answer {
            return Next::Stop(job.unsettled(why));
        }
        if self.settings.on_failure == OnFailure::HandBack {
            decide!(info, self.meters, "failed", job.key, Some(&lease), reason, place = job.delivery.place());
            let infrastructure = counted == Attempt::Refunded;
            return Next::Stop(job.unsettled(Why::Failed { reason, attempt: lease.attempt, infrastructure }));
        }
        self.meters.retried.add(1);
        job.delivery.note(Stage::Retrying);
        decide!(
            info,
            self.meters,
            "retried",
            job.key,
            Some(&lease),
            reason,
            wait_ms = wait.as_millis(),
            place = job.delivery.place()
        );
        Next::Later(job.renewed(), wait)
    }

    /// The claim is gone, or the store is: ask again, or stop.
    pub(crate) fn not_settled(&self, mut job: Job<D>, answer: Result<Settled, Why>) -> Next<D> {
        match answer {
            Ok(_) => {
                // A store that forgets its records would have it run again and again.
                job.failures = job.failures.saturating_add(1);
                job.delivery.note(Stage::Retrying);
                let wait = self.settings.backoff.after(job.failures);
                Next::Later(job.renewed(), wait)
            }
            Err(why) => Next::Stop(job.unsettled(why)),
        }
    }
}

fn all(settlements: &[Settlement], why: &Why) -> Group<Result<Settled, Why>> {
    settlements.iter().map(|_| Err(why.clone())).collect()
}
