//! From deliveries to answers: one claim trip for all of them, repeated with the same tokens until the
//! store has answered.

use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, ready};
use tokio::time::Instant;

use crate::heartbeat::Grant;
use crate::observe::decide;
use crate::switch::Switch;
use crate::ticket::Why;
use crate::{
    Attempt, ClaimRequest, Claimed, Delivery, Error, ErrorKind, Job, Previous, Receipt, Repeat, Result,
    Settings, Settle, Settlement, Stage, State, Ticket, Unsettled, chain,
};

use super::{Group, Inner, each};

/// The store's answer to one delivery's claim.
pub(crate) enum Admission<D> {
    /// Acquired.
    Run(Ticket<D>),
    /// It may have killed a worker that ran others beside it: to be run alone, after a wait. Its claim was handed back.
    Suspect(Job<D>, Duration),
    /// Settled before.
    Duplicate(Receipt<D>),
    /// Somebody else holds it.
    Busy(Job<D>, Duration),
    /// The same ID with another payload.
    Mismatch(Job<D>),
    /// A dead letter of a buried message, with the payload that was buried or a mended one.
    Letter(Job<D>),
    /// The store can never take this claim.
    Invalid(Job<D>, Error),
    /// Not claimed, and not to be.
    Refused(Unsettled<D>),
}

impl<D: Delivery, H: Send + Sync> Inner<D, H> {
    /// Claims them in one trip; suspects are handed back first, so that none of them is charged with the
    /// crash of another.
    pub(crate) fn admit(&self, jobs: Group<Job<D>>) -> impl Future<Output = Group<Admission<D>>> + Send {
        self.claim(jobs).then(|admissions| {
            match admissions.iter().any(|admission| self.is_suspect(admission)) {
                true => Either::Left(Box::pin(self.isolate(admissions))),
                false => Either::Right(ready(admissions)),
            }
        })
    }

    async fn isolate(&self, admissions: Group<Admission<D>>) -> Group<Admission<D>> {
        let suspects: Group<_> = admissions
            .iter()
            .filter_map(|admission| match admission {
                Admission::Run(ticket) if self.is_suspect(admission) => {
                    Some(Settlement::new(&ticket.lease, self.release(Attempt::Refunded)))
                }
                _ => None,
            })
            .collect();
        self.settle(&suspects).await;
        let isolate = |admission: Admission<D>| match (self.is_suspect(&admission), admission) {
            (true, Admission::Run(ticket)) => {
                let wait = self.pacing(&ticket);
                Admission::Suspect(ticket.job.renewed(), wait)
            }
            (_, other) => other,
        };
        admissions.into_iter().map(isolate).collect()
    }

    fn is_suspect(&self, admission: &Admission<D>) -> bool {
        let Admission::Run(Ticket { lease, .. }) = admission else { return false };
        let most = if self.buries { self.settings.attempts } else { u32::MAX };
        lease.previous == Previous::Vanished && (self.settings.isolate_from()..=most).contains(&lease.attempt)
    }

    /// The wait of a message that may kill its worker, has used up its attempts and cannot be buried: the
    /// others run meanwhile, however often the worker dies.
    fn pacing(&self, ticket: &Ticket<D>) -> Duration {
        if ticket.lease.attempt <= self.settings.attempts || ticket.job.paced {
            return Duration::ZERO;
        }
        let wait = self.settings.backoff.max;
        self.goes_on(ticket, "its attempts ended without a word: it may be what kills the worker", wait);
        wait
    }

    /// Says that a message has used up its attempts and is not buried, for there is no place.
    pub(crate) fn goes_on(&self, ticket: &Ticket<D>, reason: &str, wait: Duration) {
        self.meters.past_attempts.add(1);
        let (job, attempt) = (&ticket.job, ticket.lease.attempt);
        self.past_attempts.warn(|more| {
            tracing::warn!(target: "ackonce", scope = job.key.scope().name(), id = %job.key.id().escape_ascii(), attempt,
                reason, wait_ms = wait.as_millis(), more, place = job.delivery.place(),
                "Settings::attempts are used up, and there is no dead-letter place: the message is not given up but run \
                again; with a dead-letter place it would be buried there");
        });
    }

    /// Claims them in one trip and answers in order.
    pub(crate) fn claim(&self, jobs: Group<Job<D>>) -> impl Future<Output = Group<Admission<D>>> + Send {
        let requests = each(jobs.iter().map(|job| ClaimRequest {
            key: job.key.clone(),
            token: job.token,
            lease: self.settings.lease,
            window: self.settings.window,
            fingerprint: job.fingerprint,
        }));
        async move {
            if self.stop.is_on() || self.abort.is_on() {
                return refuse(jobs, &Why::Stopped);
            }
            jobs.iter().for_each(|job| job.delivery.note(Stage::Claiming));
            let mut patience = Patience::default();
            let mut sent = Instant::now();
            loop {
                let answer = self.attempt(&patience, pin!(self.store.claim_unboxed(&requests))).await;
                let Some(answer) = answer else { return refuse(jobs, &Why::Stopped) };
                self.meters.claim_time.record(sent.elapsed());
                match self.store_answer(answer, &mut patience).await {
                    Ok(answers) => {
                        return each(jobs.into_iter().zip(answers).map(|(j, a)| self.sort(j, a, sent)));
                    }
                    Err(Trouble::End(why)) => return refuse(jobs, &why),
                    Err(Trouble::Again) if self.stop.is_on() => return refuse(jobs, &Why::Stopped),
                    Err(Trouble::Again) => sent = Instant::now(),
                }
            }
        }
    }

    fn sort(&self, job: Job<D>, answer: Result<Claimed>, claimed: Instant) -> Admission<D> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Admission::Invalid(job, error),
        };
        match answer {
            Claimed::Acquired(lease) => {
                let lease = Arc::new(Grant::new(lease, Switch::default()));
                Admission::Run(Ticket { job, lease, claimed })
            }
            Claimed::Done(record) | Claimed::Mismatch(record)
                if record.state == State::Buried && job.is_letter() =>
            {
                Admission::Letter(job)
            }
            Claimed::Done(record) => {
                self.meters.duplicate(&job.key, &record, || job.delivery.place());
                Admission::Duplicate(job.duplicate(record))
            }
            Claimed::Busy { free_in } => {
                self.meters.busy.add(1);
                decide!(debug, self.meters, "busy", job.key, None, free_in_ms = free_in.as_millis());
                Admission::Busy(job, free_in)
            }
            Claimed::Mismatch(record) => {
                self.meters.mismatch.add(1);
                decide!(
                    warn,
                    self.meters,
                    "mismatch",
                    job.key,
                    None,
                    state = record.state.as_str(),
                    place = job.delivery.place()
                );
                Admission::Mismatch(job)
            }
        }
    }

    /// Hands claims back uncounted, in one trip. A store that does not answer leaves them to the lease.
    pub(crate) async fn hand_back(&self, tickets: Group<Ticket<D>>, why: &Why) -> Group<Unsettled<D>> {
        let settlements: Group<_> =
            tickets.iter().map(|t| Settlement::new(&t.lease, self.release(Attempt::Refunded))).collect();
        if !settlements.is_empty() {
            self.settle(&settlements).await;
        }
        tickets.into_iter().map(|t| t.job.unsettled(why.clone())).collect()
    }

    /// A release without a back-off: the claim goes back for a reason that is not the message's.
    pub(crate) fn release(&self, attempt: Attempt) -> Settle {
        Settle::Release { attempt, window: self.settings.window, not_before: Duration::ZERO }
    }

    /// One try of a trip; `None` if all work was ended meanwhile. A store may also hang: it is given the patience that is left.
    pub(crate) async fn attempt<T>(
        &self,
        patience: &Patience,
        trip: Pin<&mut impl Future<Output = Result<T>>>,
    ) -> Option<Result<T>> {
        tokio::select! {
            biased;
            answer = trip => Some(answer),
            () = self.abort.on() => None,
            // No timer for a trip that is over at once.
            () = patience.over(&self.settings) => {
                Some(Err(Error::new(ErrorKind::Timeout, "the store did not answer within Settings::store_timeout")))
            }
        }
    }

    /// A store's answer, or the next step without one: again, after the back-off that this waits for, or not.
    pub(crate) async fn store_answer<T>(
        &self,
        answer: Result<T>,
        patience: &mut Patience,
    ) -> std::result::Result<T, Trouble> {
        match answer {
            Ok(answer) => {
                // At the level of the line that it ends, so that all who saw that see this.
                if self.store_away.over() {
                    tracing::warn!(target: "ackonce", scope = self.scope.name(), "the store answers again");
                }
                Ok(answer)
            }
            // Boxed, as all that is rare: a future is as large as the largest thing that it may wait for.
            Err(error) => Err(Box::pin(self.trouble(error, patience)).await),
        }
    }

    pub(crate) async fn trouble(&self, error: Error, patience: &mut Patience) -> Trouble {
        if error.repeat() == Repeat::Never {
            tracing::error!(target: "ackonce", scope = self.scope.name(), error = %chain(&error), "the store refuses; nothing is acknowledged");
            return Trouble::End(Why::Fatal(error));
        }
        patience.failures += 1;
        self.meters.store_unavailable.add(1);
        let failures = patience.failures;
        self.store_away.warn(|more| {
            tracing::warn!(target: "ackonce", scope = self.scope.name(), error = %chain(&error), failures, more,
                "the store does not answer; nothing is acknowledged");
        });
        // All of the patience is waited for, and the store is asked at its end.
        let left = self.settings.store_timeout.saturating_sub(patience.spent());
        if left.is_zero() {
            return Trouble::End(Why::Unavailable(error));
        }
        let wait = self.settings.backoff.after(failures).min(self.settings.lease / 3).min(left);
        tokio::select! {
            () = self.abort.on() => {}
            () = tokio::time::sleep(wait) => {}
        }
        Trouble::Again
    }
}

/// The time that one trip has been tried.
#[derive(Default)]
pub(crate) struct Patience {
    failures: u32,
    /// Since it was first waited for: most trips need no look at the clock.
    since: OnceLock<Instant>,
}

impl Patience {
    fn spent(&self) -> Duration {
        self.since.get_or_init(Instant::now).elapsed()
    }

    /// Ready once the rest of it is over, and a third of the lease at least.
    async fn over(&self, settings: &Settings) {
        if settings.store_timeout == Duration::MAX {
            std::future::pending().await
        }
        let left = settings.store_timeout.saturating_sub(self.spent()).max(settings.lease / 3);
        Box::pin(tokio::time::sleep(left)).await;
    }
}

/// The next step without a store's answer.
pub(crate) enum Trouble {
    Again,
    End(Why),
}

fn refuse<D>(jobs: Group<Job<D>>, why: &Why) -> Group<Admission<D>> {
    jobs.into_iter().map(|job| Admission::Refused(job.unsettled(why.clone()))).collect()
}

/// The error of [`OnMismatch::Fail`](crate::OnMismatch::Fail).
pub(crate) fn mismatch_error<D>(job: &Job<D>) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!(
            "{:?} came with another payload than before: mend its sender's IDs, or choose a dead-letter place or another \
            Settings::on_mismatch",
            job.key
        ),
    )
}
