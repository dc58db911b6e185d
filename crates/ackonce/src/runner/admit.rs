//! From deliveries to answers: one claim trip for all of them, repeated with the same tokens until the
//! store has answered.

use std::time::{Duration, Instant};

use crate::observe::decide;
use crate::ticket::Why;
use crate::{
    Attempt, ClaimRequest, Claimed, Deduplicator, Delivery, Error, ErrorKind, Job, Lease, Previous, Receipt,
    Repeat, Result, Settings, Settle, Settlement, Ticket, Unsettled,
};

use super::Inner;

/// What the store said of one delivery.
pub(crate) enum Admission<D> {
    /// Acquired.
    Run(Ticket<D>),
    /// It may have killed a worker that ran others beside it: to be run alone. Its claim was handed back.
    Suspect(Job<D>),
    /// Settled before.
    Duplicate(Receipt<D>),
    /// Somebody else holds it.
    Busy(Job<D>, Duration),
    /// The same ID with another payload.
    Mismatch(Job<D>),
    /// Not claimed, and not to be.
    Refused(Unsettled<D>),
}

impl<D: Delivery, H> Inner<D, H> {
    /// Claims them in one trip; suspects are handed back first, so that none of them is charged with the
    /// crash of another.
    pub(crate) async fn admit(&self, jobs: Vec<Job<D>>) -> Vec<Admission<D>> {
        let admissions = self.claim(jobs).await;
        let suspects: Vec<_> = admissions
            .iter()
            .filter_map(|admission| match admission {
                Admission::Run(ticket) if self.is_suspect(&ticket.lease) => {
                    Some(Settlement::new(&ticket.lease, self.release(Attempt::Refunded)))
                }
                _ => None,
            })
            .collect();
        if suspects.is_empty() {
            return admissions;
        }
        self.settle(&suspects).await;
        let isolate = |admission| match admission {
            Admission::Run(ticket) if self.is_suspect(&ticket.lease) => {
                Admission::Suspect(ticket.job.renewed())
            }
            other => other,
        };
        admissions.into_iter().map(isolate).collect()
    }

    fn is_suspect(&self, lease: &Lease) -> bool {
        lease.previous == Previous::Vanished
            && (self.settings.isolate_from()..=self.settings.attempts).contains(&lease.attempt)
    }

    /// Claims them in one trip and answers in order.
    pub(crate) async fn claim(&self, jobs: Vec<Job<D>>) -> Vec<Admission<D>> {
        let requests: Vec<_> = jobs
            .iter()
            .map(|job| ClaimRequest {
                key: job.key.clone(),
                token: job.token,
                lease: self.settings.lease,
                window: self.settings.window,
                fingerprint: job.fingerprint,
            })
            .collect();
        if self.stop.is_cancelled() {
            return refuse(jobs, &Why::Stopped);
        }
        let mut patience = Patience::new();
        loop {
            let sent = Instant::now();
            let answer = tokio::select! {
                biased;
                () = self.abort.cancelled() => return refuse(jobs, &Why::Stopped),
                answer = patience.within(&self.settings, self.store.claim(&requests)) => answer,
            };
            match self.judge(answer, &mut patience).await {
                Ok(answers) => {
                    return jobs.into_iter().zip(answers).map(|(j, a)| self.sort(j, a, sent)).collect();
                }
                Err(Trouble::End(why)) => return refuse(jobs, &why),
                Err(Trouble::Again) if self.stop.is_cancelled() => return refuse(jobs, &Why::Stopped),
                Err(Trouble::Again) => {}
            }
        }
    }

    fn sort(&self, job: Job<D>, answer: Claimed, claimed: Instant) -> Admission<D> {
        match answer {
            Claimed::Acquired(lease) => Admission::Run(Ticket { job, lease: lease.into(), claimed }),
            Claimed::Done(record) => {
                self.meters.duplicate(&job.key, record.age);
                Admission::Duplicate(job.duplicate(record))
            }
            Claimed::Busy { free_in } => {
                self.meters.busy.add(1);
                decide!(debug, self.meters, "busy", job.key, None, free_in_ms = free_in.as_millis());
                Admission::Busy(job, free_in)
            }
            Claimed::Mismatch(record) => {
                self.meters.mismatch.add(1);
                decide!(warn, self.meters, "mismatch", job.key, None, state = record.state.as_str());
                Admission::Mismatch(job)
            }
        }
    }

    /// Hands claims back uncounted, in one trip. A store that does not answer leaves them to the lease.
    pub(crate) async fn hand_back(&self, tickets: Vec<Ticket<D>>, why: &Why) -> Vec<Unsettled<D>> {
        let settlements: Vec<_> =
            tickets.iter().map(|t| Settlement::new(&t.lease, self.release(Attempt::Refunded))).collect();
        if !settlements.is_empty() {
            self.settle(&settlements).await;
        }
        tickets.into_iter().map(|t| t.job.unsettled(why.clone())).collect()
    }

    pub(crate) fn release(&self, attempt: Attempt) -> Settle {
        Settle::Release { attempt, window: self.settings.window }
    }

    /// A store's answer, or what to do without one: again, after the back-off that this waits for, or not.
    pub(crate) async fn judge<T>(
        &self,
        answer: Result<T>,
        patience: &mut Patience,
    ) -> std::result::Result<T, Trouble> {
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if error.repeat() == Repeat::Never {
            tracing::error!(target: "ackonce", %error, "the store refuses; nothing is acknowledged");
            return Err(Trouble::End(Why::Fatal(error)));
        }
        patience.failures += 1;
        self.meters.store_unavailable.add(1);
        let failures = patience.failures;
        tracing::warn!(target: "ackonce", %error, failures, "the store does not answer; nothing is acknowledged");
        let wait = self.settings.backoff.after(failures).min(self.settings.lease / 3);
        if patience.since.elapsed().saturating_add(wait) > self.settings.patience {
            return Err(Trouble::End(Why::Unavailable(error)));
        }
        tokio::select! {
            () = self.abort.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
        Err(Trouble::Again)
    }
}

/// How long one trip has been tried.
pub(crate) struct Patience {
    failures: u32,
    since: Instant,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { failures: 0, since: Instant::now() }
    }

    /// One try. A store may also hang: it is given the patience that is left, and a third of the lease at least.
    pub(crate) async fn within<T>(
        &self,
        settings: &Settings,
        trip: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if settings.patience == Duration::MAX {
            return trip.await;
        }
        let left = settings.patience.saturating_sub(self.since.elapsed()).max(settings.lease / 3);
        match tokio::time::timeout(left, trip).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(Error::new(ErrorKind::Timeout, "the store did not answer within Settings::patience"))
            }
        }
    }
}

/// What to do without a store's answer.
pub(crate) enum Trouble {
    Again,
    End(Why),
}

fn refuse<D>(jobs: Vec<Job<D>>, why: &Why) -> Vec<Admission<D>> {
    jobs.into_iter().map(|job| Admission::Refused(job.unsettled(why.clone()))).collect()
}

/// The error of [`OnMismatch::Fail`](crate::OnMismatch::Fail).
pub(crate) fn mismatch_error<D>(job: &Job<D>) -> Error {
    Error::new(ErrorKind::Invalid, format!("{:?} came with another payload than before", job.key))
}
