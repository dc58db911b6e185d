//! One delivery's whole life, from claim to receipt.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, ready};
use smallvec::smallvec;
use tokio::sync::OwnedSemaphorePermit;

use crate::ticket::Why;
use crate::{
    Class, Context, Delivery, Effect, Failure, Found, Handler, Job, OnMismatch, OnUnknown, Previous, Receipt,
    Stage, Ticket, Unsettled,
};

use super::admit::{Admission, mismatch_error};
use super::conclude::{Next, contract_broken};
use super::work::Handled;
use super::{Group, Inner};

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

/// What an admission leads to.
enum Step<'a, D> {
    Over(Next<D>),
    Run(Ticket<D>),
    /// Whatever is rare.
    Other(BoxFuture<'a, Next<D>>),
}

/// Where a delivery's life goes on from.
enum Point<D> {
    /// It is to be claimed, after a wait.
    Later(Job<D>, Duration),
    /// Its claim was answered, and there is a slot for its handler.
    Claimed(Admission<D>, OwnedSemaphorePermit),
}

impl<D: Delivery, H: Handler<D::Message>> Inner<D, H> {
    /// From an admission to the end, with the slot that its handler runs in. A slot is taken before a claim is
    /// made, so that what is claimed starts, and given back while a delivery waits.
    pub(crate) fn resume(
        &self,
        admission: Admission<D>,
        slot: OwnedSemaphorePermit,
    ) -> impl Future<Output = Result<Receipt<D>, Unsettled<D>>> + Send {
        self.live(Point::Claimed(admission, slot))
    }

    /// From a wait to the end.
    pub(crate) fn later(
        &self,
        job: Job<D>,
        wait: Duration,
    ) -> impl Future<Output = Result<Receipt<D>, Unsettled<D>>> + Send {
        self.live(Point::Later(job, wait))
    }

    /// What is waited for is made first and waited for after that: what is bound across an await takes its place in
    /// the future for all of its life, and this is the future of every message.
    fn live(&self, mut point: Point<D>) -> impl Future<Output = Result<Receipt<D>, Unsettled<D>>> + Send {
        let mut held = Held::default();
        async move {
            loop {
                let (admission, slot) = match point {
                    Point::Later(job, wait) => self.ask(job, wait).await?,
                    Point::Claimed(admission, slot) => (admission, slot),
                };
                let step = match self.step(admission, &mut held) {
                    Step::Over(next) => Either::Left(ready(next)),
                    Step::Run(ticket) => Either::Right(Either::Left(self.run_one(ticket))),
                    Step::Other(step) => Either::Right(Either::Right(step)),
                };
                point = match step.await {
                    Next::Settled(receipt) => return Ok(receipt),
                    Next::Stop(unsettled) => return Err(unsettled),
                    Next::Later(job, wait) => Point::Later(job, wait),
                };
                drop(slot);
                self.slot_freed.notify_one();
            }
        }
    }

    /// Takes a slot and claims; most need not wait for either.
    fn ask(
        &self,
        job: Job<D>,
        wait: Duration,
    ) -> impl Future<Output = Result<(Admission<D>, OwnedSemaphorePermit), Unsettled<D>>> + Send {
        let at_once = wait.is_zero() && !self.stop.is_on() && job.delivery.is_current();
        match at_once.then(|| self.handlers.clone().try_acquire_owned()) {
            Some(Ok(slot)) => {
                Either::Left(self.admit(smallvec![job]).map(|admitted| Ok((sole(admitted), slot))))
            }
            _ => Either::Right(Box::pin(self.wait_and_ask(job, wait))),
        }
    }

    async fn wait_and_ask(
        &self,
        job: Job<D>,
        wait: Duration,
    ) -> Result<(Admission<D>, OwnedSemaphorePermit), Unsettled<D>> {
        if let Err(why) = self.wait(&job, wait).await {
            return Err(job.unsettled(why));
        }
        match self.handlers.clone().acquire_owned().await {
            Ok(slot) => Ok((sole(self.admit(smallvec![job]).await), slot)),
            // It cannot be: nobody closes the semaphore.
            Err(_) => Err(job.unsettled(Why::Stopped)),
        }
    }

    fn step(&self, admission: Admission<D>, held: &mut Held) -> Step<'_, D> {
        match admission {
            Admission::Duplicate(receipt) => Step::Over(Next::Settled(receipt)),
            Admission::Refused(unsettled) => Step::Over(Next::Stop(unsettled)),
            Admission::Busy(job, free_in) => Step::Over(self.busy(job, free_in, held)),
            Admission::Mismatch(job) => Step::Over(self.mismatch(job)),
            Admission::Suspect(job) => Step::Other(self.alone(job).boxed()),
            Admission::Run(ticket) => self.start(ticket),
        }
    }

    fn busy(&self, job: Job<D>, free_in: Duration, held: &mut Held) -> Next<D> {
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

    /// Waits, unless stopped or revoked meanwhile; `Err` says why not to go on.
    async fn wait(&self, job: &Job<D>, wait: Duration) -> Result<(), Why> {
        if wait.is_zero() && !self.stop.is_on() && job.delivery.is_current() {
            return Ok(());
        }
        let until = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                biased;
                () = self.stop.on() => return Err(Why::Stopped),
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

    fn start(&self, ticket: Ticket<D>) -> Step<'_, D> {
        if !ticket.job.delivery.is_current() || self.stop.is_on() {
            let why = if self.stop.is_on() { Why::Stopped } else { Why::NotCurrent };
            let back = async move { Next::Stop(sole(self.hand_back(smallvec![ticket], &why).await)) };
            return Step::Other(back.boxed());
        }
        if let Some(reason) = ticket.job.condemned.clone() {
            return Step::Other(self.bury_now(ticket, reason.into()).boxed());
        }
        if ticket.lease.attempt > self.settings.attempts {
            let reason = format!(
                "{} attempts ended without a word: it may be what kills the worker",
                self.settings.attempts
            );
            return Step::Other(self.bury_now(ticket, reason).boxed());
        }
        // An inbox has no unknown outcome: what did not commit did not happen.
        if ticket.lease.previous == Previous::Vanished && self.meters.class != Class::Inbox {
            return Step::Other(self.after_unknown(ticket).boxed());
        }
        Step::Run(ticket)
    }

    fn run_one(&self, ticket: Ticket<D>) -> impl Future<Output = Next<D>> + Send {
        self.work(smallvec![ticket]).map(sole)
    }

    async fn after_unknown(&self, ticket: Ticket<D>) -> Next<D> {
        let probe = match &self.settings.on_unknown {
            OnUnknown::RunAgain => return self.run_one(ticket).await,
            OnUnknown::Park => {
                return self.bury_now(ticket, "outcome unknown: its worker vanished".into()).await;
            }
            OnUnknown::Ask(probe) => probe,
        };
        let cx = Context::new(ticket.lease().clone(), self.abort.token().clone())
            .with_window(self.settings.window);
        let answer = match probe.probe(&cx).await {
            Found::NotHappened => return self.run_one(ticket).await,
            Found::Happened => Ok(Effect::from(())),
            Found::CannotTell => Err(Failure::permanent("outcome unknown: the probe cannot tell")),
        };
        let hold = self.hold(std::slice::from_ref(&ticket));
        let mut group = smallvec![ticket];
        sole(self.conclude(&mut group, Handled { answers: smallvec![answer], hold }).await)
    }

    /// Runs a message that may have killed its worker, with no other such message beside it.
    async fn alone(&self, job: Job<D>) -> Next<D> {
        let _permit = tokio::select! {
            biased;
            () = self.stop.on() => return Next::Stop(job.unsettled(Why::Stopped)),
            permit = self.quarantine.acquire() => permit,
        };
        match sole(self.claim(smallvec![job]).await) {
            Admission::Run(ticket) => match self.start(ticket) {
                Step::Over(next) => next,
                Step::Run(ticket) => self.run_one(ticket).await,
                Step::Other(step) => step.await,
            },
            Admission::Duplicate(receipt) => Next::Settled(receipt),
            Admission::Refused(unsettled) => Next::Stop(unsettled),
            Admission::Busy(job, free_in) => Next::Later(job, free_in.min(BUSY_MAX)),
            Admission::Mismatch(job) => self.mismatch(job),
            Admission::Suspect(job) => Next::Later(job, Duration::ZERO),
        }
    }

    fn mismatch(&self, job: Job<D>) -> Next<D> {
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
pub(super) fn sole<T>(mut answers: Group<T>) -> T {
    match (answers.pop(), answers.is_empty()) {
        (Some(answer), true) => answer,
        // `admit`, `work` and `hand_back` answer one to one, and the coalescer refuses a store that does not.
        _ => unreachable!("one in, one out"),
    }
}
