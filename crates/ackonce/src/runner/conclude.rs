//! From answers to receipts: what each means, and one settle trip for all of them.

use std::pin::pin;
use std::time::Duration;

use crate::handler::EffectKind;
use crate::observe::decide;
use crate::ticket::Why;
use crate::{
    Answer, Attempt, Burial, Delivery, Error, ErrorKind, Failure, Job, Lease, OnFailure, OnUnknown, Receipt,
    Repeat, Settle, Settled, SettledAs, Settlement, Stage, Ticket, Unsettled,
};

use super::admit::{Patience, Trouble};
use super::work::Handled;
use super::{Group, Inner, each};

/// What becomes of a delivery after one step.
pub(crate) enum Next<D> {
    /// It may be acknowledged.
    Settled(Receipt<D>),
    /// It is claimed again after this long.
    Later(Job<D>, Duration),
    /// It goes back unsettled.
    Stop(Unsettled<D>),
}

/// What one answer asks of the store.
enum Verdict {
    /// Recorded in the effect's own transaction.
    Recorded,
    /// The action, until it is asked for.
    Settle(Option<Settle>),
    /// Released, to run again or to be handed back with the reason.
    Release(Attempt, String),
    Bury(String),
    /// Claim again: with the same token if the store may still know it, else with a new one.
    AskAgain {
        same_token: bool,
        wait: Duration,
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
        let answers = group.iter().zip(answers);
        let mut verdicts = each(answers.map(|(t, answer)| self.verdict(&t.lease, answer)));
        async move {
            let _hold = &hold;
            if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Bury(_))) {
                Box::pin(self.bury_some(group, &mut verdicts)).await;
            }
            let settlements = self.settlements(group, &mut verdicts);
            let settled = match settlements.is_empty() {
                true => Group::new(),
                false => self.settle(&settlements).await,
            };
            let mut settled = settlements.into_iter().zip(settled);
            let next = |(ticket, verdict): (Ticket<D>, Verdict)| match verdict {
                Verdict::Recorded => Next::Settled(ticket.job.receipt(SettledAs::Run)),
                Verdict::Settle(_) => match settled.next() {
                    Some((settlement, answer)) => self.after(ticket, settlement.action, answer),
                    None => Next::Later(ticket.job.renewed(), Duration::ZERO),
                },
                Verdict::Release(_, reason) => match settled.next() {
                    Some((_, answer)) => self.released(ticket, reason, answer),
                    None => Next::Later(ticket.job.renewed(), Duration::ZERO),
                },
                Verdict::AskAgain { same_token: true, wait } => Next::Later(ticket.job, wait),
                Verdict::AskAgain { same_token: false, wait } => Next::Later(ticket.job.renewed(), wait),
                Verdict::Fatal(error) => Next::Stop(ticket.job.unsettled(Why::Fatal(error))),
                // Not buried yet, so that it is asked for again.
                Verdict::Bury(_) => Next::Stop(ticket.job.unsettled(Why::Stopped)),
            };
            each(std::mem::take(group).into_iter().zip(verdicts).map(next))
        }
    }

    /// The dead-letter place first, then the record.
    async fn bury_some(&self, group: &[Ticket<D>], verdicts: &mut [Verdict]) {
        for (ticket, verdict) in group.iter().zip(verdicts) {
            if let Verdict::Bury(reason) = verdict {
                let reason = std::mem::take(reason);
                *verdict = self.bury(ticket, reason).await;
            }
        }
    }

    /// What the verdicts ask of the store.
    fn settlements(&self, group: &[Ticket<D>], verdicts: &mut [Verdict]) -> Group<Settlement> {
        let mut settlements = Group::new();
        for (ticket, verdict) in group.iter().zip(verdicts) {
            let action = match verdict {
                Verdict::Settle(action) => action.take(),
                Verdict::Release(attempt, _) => Some(self.release(*attempt)),
                _ => None,
            };
            settlements.extend(action.map(|action| Settlement::new(&ticket.lease, action)));
        }
        settlements
    }

    fn verdict(&self, lease: &Lease, answer: Answer) -> Verdict {
        let window = self.settings.window;
        match answer.map(|effect| effect.0) {
            Ok(EffectKind::Recorded) => Verdict::Recorded,
            Ok(EffectKind::Done(outcome)) => Verdict::Settle(Some(Settle::Complete { window, outcome })),
            Err(Failure::Permanent(error)) => Verdict::Bury(error.to_string()),
            Err(Failure::Retry(error)) if lease.attempt >= self.settings.attempts => {
                Verdict::Bury(format!("failed {} times, last: {error}", lease.attempt))
            }
            Err(Failure::Unknown(error)) => match self.settings.on_unknown {
                OnUnknown::Park => Verdict::Bury(format!("outcome unknown: {error}")),
                OnUnknown::RunAgain if lease.attempt >= self.settings.attempts => {
                    Verdict::Bury(format!("outcome unknown after {} attempts, last: {error}", lease.attempt))
                }
                OnUnknown::RunAgain => Verdict::Release(Attempt::Counts, error.to_string()),
                // The probe is asked once the lease has ended and the claim is granted again.
                OnUnknown::Ask(_) => self.lapse(lease),
            },
            Err(Failure::Cancelled(_)) => self.lapse(lease),
            Err(Failure::Retry(error)) => Verdict::Release(Attempt::Counts, error.to_string()),
            Err(Failure::Infrastructure(error)) => Verdict::Release(Attempt::Refunded, error.to_string()),
            Err(Failure::Fenced) => Verdict::AskAgain { same_token: false, wait: Duration::ZERO },
            Err(Failure::Store(error)) if error.repeat() == Repeat::Never => Verdict::Fatal(error),
            Err(Failure::Store(_)) => {
                Verdict::AskAgain { same_token: true, wait: self.settings.backoff.after(1) }
            }
        }
    }

    /// Not released: what was dropped midway may have left work behind that still acts under its lease.
    fn lapse(&self, lease: &Lease) -> Verdict {
        Verdict::AskAgain { same_token: false, wait: self.settings.backoff.after(lease.attempt) }
    }

    async fn bury(&self, ticket: &Ticket<D>, reason: String) -> Verdict {
        let burial = Burial { key: ticket.job.key.clone(), reason, attempts: ticket.lease.attempt };
        let mut failures = 0;
        loop {
            let answer = tokio::select! {
                biased;
                () = self.abort.on() => return Verdict::Bury(burial.reason),
                answer = self.graveyard.bury(&ticket.job.delivery, &burial) => answer,
            };
            match answer {
                Ok(_) => {
                    let Burial { reason, .. } = burial;
                    return Verdict::Settle(Some(Settle::Bury { window: self.settings.window, reason }));
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(target: "ackonce", %error, failures, "the dead-letter place does not answer, trying again");
                }
            }
            tokio::select! {
                () = self.stop.on() => return Verdict::Bury(burial.reason),
                () = tokio::time::sleep(self.settings.backoff.after(failures)) => {}
            }
        }
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
                let answer = self.attempt(&patience, pin!(self.store.settle_unboxed(settlements))).await;
                let Some(answer) = answer else { return all(settlements, &Why::Stopped) };
                match self.judge(answer, &mut patience).await {
                    Ok(answers) => return each(answers.into_iter().map(Ok)),
                    Err(Trouble::End(why)) => return all(settlements, &why),
                    Err(Trouble::Again) => {}
                }
            }
        }
    }

    fn after(&self, ticket: Ticket<D>, action: Settle, answer: Result<Settled, Why>) -> Next<D> {
        let Ticket { job, lease, .. } = ticket;
        match (action, answer) {
            (Settle::Complete { .. }, Ok(Settled::Yes)) => {
                decide!(debug, self.meters, "completed", job.key, Some(&lease));
                Next::Settled(job.receipt(SettledAs::Run))
            }
            (Settle::Bury { reason, .. }, Ok(Settled::Yes)) => {
                self.meters.buried.add(1);
                decide!(warn, self.meters, "buried", job.key, Some(&lease), reason);
                Next::Settled(job.receipt(SettledAs::Buried))
            }
            (Settle::Complete { .. }, answer) => {
                self.meters.completed_not_recorded.add(1);
                decide!(warn, self.meters, "completed-but-not-recorded", job.key, Some(&lease));
                self.not_settled(
                    job,
                    answer.map_err(|why| match why {
                        Why::Unavailable(error) => Why::NotRecorded(error),
                        why => why,
                    }),
                )
            }
            (_, answer) => self.not_settled(job, answer),
        }
    }

    fn released(&self, ticket: Ticket<D>, reason: String, answer: Result<Settled, Why>) -> Next<D> {
        let Ticket { job, lease, .. } = ticket;
        if let Err(why) = answer {
            return Next::Stop(job.unsettled(why));
        }
        if self.settings.on_failure == OnFailure::HandBack {
            decide!(info, self.meters, "failed", job.key, Some(&lease), reason);
            return Next::Stop(job.unsettled(Why::Failed { reason, attempt: lease.attempt }));
        }
        self.meters.retried.add(1);
        job.delivery.note(Stage::Retrying);
        let wait = self.settings.backoff.after(lease.attempt);
        decide!(info, self.meters, "retried", job.key, Some(&lease), reason, wait_ms = wait.as_millis());
        Next::Later(job.renewed(), wait)
    }

    /// The claim is gone, or the store is: ask again, or stop.
    pub(crate) fn not_settled(&self, job: Job<D>, answer: Result<Settled, Why>) -> Next<D> {
        match answer {
            Ok(_) => Next::Later(job.renewed(), Duration::ZERO),
            Err(why) => Next::Stop(job.unsettled(why)),
        }
    }

    /// Buries what its claim alone condemns: no ID, too many attempts, another payload.
    pub(crate) async fn bury_now(&self, ticket: Ticket<D>, reason: String) -> Next<D> {
        let _hold = self.hold(std::slice::from_ref(&ticket));
        let answer = match self.bury(&ticket, reason).await {
            Verdict::Settle(Some(action)) => {
                let settlement = Settlement::new(&ticket.lease, action);
                let settled = self.settle(std::slice::from_ref(&settlement)).await;
                settled.into_iter().next().map(|answer| (settlement.action, answer))
            }
            _ => None,
        };
        match answer {
            Some((action, answer)) => self.after(ticket, action, answer),
            None => Next::Stop(ticket.job.unsettled(Why::Stopped)),
        }
    }

    /// The burial of a delivery whose ID belongs to another payload: filed beside the first one's record.
    pub(crate) fn beside(&self, job: Job<D>) -> Result<Job<D>, Job<D>> {
        let Some(fingerprint) = job.fingerprint else { return Err(job) };
        let mut id = fingerprint.0.to_vec();
        id.extend_from_slice(job.key.id());
        match job.key.scope().beside("mismatch").with_max_id_len(id.len()).key(id) {
            Ok(key) => Ok(Job { key, ..job }
                .renewed()
                .condemned("the same message ID came before with another payload")),
            Err(_) => Err(job),
        }
    }
}

fn all(settlements: &[Settlement], why: &Why) -> Group<Result<Settled, Why>> {
    settlements.iter().map(|_| Err(why.clone())).collect()
}

/// For answers that cannot be: a mismatch without a fingerprint.
pub(crate) fn contract_broken() -> Error {
    Error::new(ErrorKind::Protocol, "the store reports a mismatch for a claim that carried no fingerprint")
}
