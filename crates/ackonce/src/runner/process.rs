//! One delivery's whole life, from claim to receipt.

use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use crate::ticket::Why;
use crate::{
    Class, Context, Delivery, Effect, Failure, Found, Handler, Job, OnMismatch, OnUnknown, Previous, Receipt,
    Stage, Ticket, Unsettled,
};

use super::Inner;
use super::admit::{Admission, mismatch_error};
use super::conclude::{Next, contract_broken};

/// The longest wait before asking again for a message that somebody else holds.
const BUSY_MAX: Duration = Duration::from_secs(1);
/// How often a waiting delivery looks whether it is still wanted.
const LOOK_UP: Duration = Duration::from_millis(100);

/// How long somebody else has held the message of one delivery.
#[derive(Default)]
struct Held {
    waits: u32,
    since: Option<Instant>,
}

pub(crate) async fn one<D: Delivery, H: Handler<D::Message>>(
    inner: &Inner<D, H>,
    job: Job<D>,
) -> Result<Receipt<D>, Unsettled<D>> {
    inner.later(job, Duration::ZERO).await
}

impl<D: Delivery, H: Handler<D::Message>> Inner<D, H> {
    /// From an admission to the end, with the slot that its handler runs in. A slot is taken before a claim is
    /// made, so that what is claimed starts, and given back while a delivery waits.
    pub(crate) async fn resume(
        &self,
        mut admission: Admission<D>,
        slot: OwnedSemaphorePermit,
    ) -> Result<Receipt<D>, Unsettled<D>> {
        let mut held = Held::default();
        let mut slot = Some(slot);
        loop {
            let (job, wait) = match self.step(admission, &mut held).await {
                Next::Settled(receipt) => return Ok(receipt),
                Next::Stop(unsettled) => return Err(unsettled),
                Next::Later(job, wait) => (job, wait),
            };
            drop(slot.take());
            self.slot_freed.notify_one();
            slot = match self.wait(&job, wait).await {
                Ok(()) => self.slot().await,
                Err(why) => return Err(job.unsettled(why)),
            };
            admission = self.admit_one(job).await;
        }
    }

    /// From a wait to the end.
    pub(crate) async fn later(&self, job: Job<D>, wait: Duration) -> Result<Receipt<D>, Unsettled<D>> {
        if let Err(why) = self.wait(&job, wait).await {
            return Err(job.unsettled(why));
        }
        let Some(slot) = self.slot().await else { return Err(job.unsettled(Why::Stopped)) };
        let admission = self.admit_one(job).await;
        self.resume(admission, slot).await
    }

    /// Room for one handler. `None` cannot be: nobody closes the semaphore.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        self.handlers.clone().acquire_owned().await.ok()
    }

    async fn admit_one(&self, job: Job<D>) -> Admission<D> {
        sole(self.admit(vec![job]).await)
    }

    async fn step(&self, admission: Admission<D>, held: &mut Held) -> Next<D> {
        match admission {
            Admission::Duplicate(receipt) => Next::Settled(receipt),
            Admission::Refused(unsettled) => Next::Stop(unsettled),
            Admission::Busy(job, free_in) => {
                held.waits += 1;
                let since = *held.since.get_or_insert_with(Instant::now);
                job.delivery.note(Stage::Busy);
                let ask = self.settings.backoff.after(held.waits).min(BUSY_MAX);
                // Its own token: the claim was not granted, and may yet be if this was a late copy.
                let wait = ask.min(free_in + Duration::from_millis(1));
                if since.elapsed().saturating_add(wait) > self.settings.hold {
                    return Next::Stop(job.unsettled(Why::Busy { free_in }));
                }
                Next::Later(job, wait)
            }
            Admission::Mismatch(job) => self.mismatch(job).await,
            Admission::Suspect(job) => self.alone(job).await,
            Admission::Run(ticket) => self.start(ticket).await,
        }
    }

    /// Waits, unless stopped or revoked meanwhile; `Err` says why not to go on.
    async fn wait(&self, job: &Job<D>, wait: Duration) -> Result<(), Why> {
        // Most do not wait at all: no timer for them.
        if wait.is_zero() && !self.stop.is_cancelled() && job.delivery.is_current() {
            return Ok(());
        }
        let until = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Why::Stopped),
                () = tokio::time::sleep_until(until.min(tokio::time::Instant::now() + LOOK_UP)) => {}
            }
            if !job.delivery.is_current() {
                return Err(Why::NotCurrent);
            }
            if tokio::time::Instant::now() >= until {
                return Ok(());
            }
        }
    }

    async fn start(&self, ticket: Ticket<D>) -> Next<D> {
        if !ticket.job.delivery.is_current() || self.stop.is_cancelled() {
            let why = if self.stop.is_cancelled() { Why::Stopped } else { Why::NotCurrent };
            return Next::Stop(sole(self.hand_back(vec![ticket], &why).await));
        }
        if let Some(reason) = ticket.job.condemned.clone() {
            return self.bury_now(ticket, reason).await;
        }
        if ticket.lease.attempt > self.settings.attempts {
            let reason = format!(
                "{} attempts ended without a word: it may be what kills the worker",
                self.settings.attempts
            );
            return self.bury_now(ticket, reason).await;
        }
        // An inbox has no unknown outcome: what did not commit did not happen.
        if ticket.lease.previous == Previous::Vanished && self.meters.class != Class::Inbox {
            return self.after_unknown(ticket).await;
        }
        self.run_one(ticket).await
    }

    async fn run_one(&self, ticket: Ticket<D>) -> Next<D> {
        sole(self.work(vec![ticket]).await)
    }

    async fn after_unknown(&self, ticket: Ticket<D>) -> Next<D> {
        let probe = match &self.settings.on_unknown {
            OnUnknown::RunAgain => return self.run_one(ticket).await,
            OnUnknown::Park => {
                return self.bury_now(ticket, "outcome unknown: its worker vanished".into()).await;
            }
            OnUnknown::Ask(probe) => probe,
        };
        let cx = Context::new(ticket.lease.clone(), self.abort.clone()).with_window(self.settings.window);
        let answer = match probe.probe(&cx).await {
            Found::NotHappened => return self.run_one(ticket).await,
            Found::Happened => Ok(Effect::from(())),
            Found::CannotTell => Err(Failure::permanent("outcome unknown: the probe cannot tell")),
        };
        sole(self.conclude(vec![ticket], vec![answer]).await)
    }

    /// Runs a message that may have killed its worker, with no other such message beside it.
    async fn alone(&self, job: Job<D>) -> Next<D> {
        let _permit = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Next::Stop(job.unsettled(Why::Stopped)),
            permit = self.quarantine.acquire() => permit,
        };
        match sole(self.claim(vec![job]).await) {
            Admission::Run(ticket) => self.start(ticket).await,
            Admission::Duplicate(receipt) => Next::Settled(receipt),
            Admission::Refused(unsettled) => Next::Stop(unsettled),
            Admission::Busy(job, free_in) => Next::Later(job, free_in.min(BUSY_MAX)),
            Admission::Mismatch(job) => self.mismatch(job).await,
            Admission::Suspect(job) => Next::Later(job, Duration::ZERO),
        }
    }

    async fn mismatch(&self, job: Job<D>) -> Next<D> {
        match self.settings.on_mismatch {
            OnMismatch::Fail => {
                let error = mismatch_error(&job);
                Next::Stop(job.unsettled(Why::Fatal(error)))
            }
            OnMismatch::HandBack => Next::Stop(job.unsettled(Why::Mismatch)),
            OnMismatch::Bury => match self.beside(job) {
                Ok(job) => Next::Later(job, Duration::ZERO),
                Err(job) => Next::Stop(job.unsettled(Why::Fatal(contract_broken()))),
            },
        }
    }
}

/// The one answer to a group of one.
pub(crate) fn sole<T>(mut answers: Vec<T>) -> T {
    match (answers.pop(), answers.is_empty()) {
        (Some(answer), true) => answer,
        // `admit`, `work` and `hand_back` answer one to one, and the coalescer refuses a store that does not.
        _ => unreachable!("one in, one out"),
    }
}
