//! One delivery's whole life, from claim to receipt.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, ready};
use smallvec::smallvec;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::ticket::Why;
use crate::{
    Class, Context, Delivery, Effect, Failure, Found, Handler, Job, OnMismatch, OnUnknown, Previous, Probe,
    Receipt, Stage, Ticket, Unsettled,
};

use super::admit::{Admission, mismatch_error};
use super::conclude::Next;
use super::work::Handled;
use super::{Group, Inner};

/// The longest wait before asking again for a message that somebody else holds.
const BUSY_MAX: Duration = Duration::from_secs(1);
/// The interval at which a waiting delivery checks that it is still wanted.
const LOOK_UP: Duration = Duration::from_millis(100);

/// The time that another delivery has held the message of this one.
#[derive(Default)]
pub(crate) struct Held {
    waits: u32,
    since: Option<Instant>,
}

/// The step after an admission.
enum Step<'a, D> {
    Over(Next<D>),
    Run(Ticket<D>),
    /// A rare step.
    Other(BoxFuture<'a, Next<D>>),
}

/// The point from which a delivery goes on.
enum Point<D> {
    /// It waits for something, without a slot.
    Next(Next<D>),
    /// Its claim was answered, and there is a slot for its handler.
    Claimed(Admission<D>, OwnedSemaphorePermit),
}

type Outcome<D> = Result<Receipt<D>, Unsettled<D>>;

impl<D: Delivery, H: Handler<D::Message>> Inner<D, H> {
    /// From an admission to the end, with the slot that its handler runs in. A slot is taken before a claim is
    /// made, so that a claimed message starts at once, and given back while a delivery waits.
    pub(crate) fn resume(
        &self,
        admission: Admission<D>,
        slot: OwnedSemaphorePermit,
    ) -> impl Future<Output = Outcome<D>> + Send {
        self.live(Point::Claimed(admission, slot))
    }

    /// From a step to the end.
    pub(crate) fn go_on(&self, next: Next<D>) -> impl Future<Output = Outcome<D>> + Send {
        self.live(Point::Next(next))
    }

    /// Each future is made first and awaited after that: a value bound across an await takes its place in
    /// the future for all of its life, and this is the future of every message.
    fn live(&self, mut point: Point<D>) -> impl Future<Output = Outcome<D>> + Send {
        let mut held = Held::default();
        async move {
            loop {
                let (admission, slot) = match point {
                    Point::Claimed(admission, slot) => (admission, slot),
                    Point::Next(Next::Later(job, wait)) => self.ask(job, wait).await?,
                    Point::Next(Next::Settled(receipt)) => return Ok(receipt),
                    Point::Next(Next::Stop(unsettled)) => return Err(unsettled),
                    Point::Next(next) => {
                        point = Point::Next(self.rare(next, &mut held).await);
                        continue;
                    }
                };
                let step = match self.step(admission, &mut held) {
                    Step::Over(next) => Either::Left(ready(next)),
                    Step::Run(ticket) => Either::Right(Either::Left(self.run_one(ticket))),
                    Step::Other(step) => Either::Right(Either::Right(step)),
                };
                point = Point::Next(step.await);
                drop(slot);
                self.slot_freed.notify_one();
            }
        }
    }

    /// The steps that hardly any message takes.
    fn rare<'a>(&'a self, next: Next<D>, held: &'a mut Held) -> BoxFuture<'a, Next<D>> {
        match next {
            Next::Alone(job) => self.alone(job, held).boxed(),
            Next::Bury(burying) => self.bury(burying).boxed(),
            Next::Redrive(job) => self.redrive(job).boxed(),
            next => ready(next).boxed(),
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
        let waited = self.unless_unwanted(&job, tokio::time::sleep(wait)).await;
        let slot = match waited {
            Ok(()) => self.slot(&job).await,
            Err(why) => Err(why),
        };
        match slot {
            Ok(slot) => Ok((sole(self.admit(smallvec![job]).await), slot)),
            Err(why) => Err(job.unsettled(why)),
        }
    }

    async fn slot(&self, job: &Job<D>) -> Result<OwnedSemaphorePermit, Why> {
        let slot = self.unless_unwanted(job, self.handlers.clone().acquire_owned()).await?;
        // It cannot be: nobody closes the semaphore.
        slot.map_err(|_| Why::Stopped)
    }

    fn step(&self, admission: Admission<D>, held: &mut Held) -> Step<'_, D> {
        match admission {
            Admission::Duplicate(receipt) => Step::Over(Next::Settled(receipt)),
            Admission::Refused(unsettled) => Step::Over(Next::Stop(unsettled)),
            Admission::Busy(job, free_in) => Step::Over(self.busy(job, free_in, held)),
            Admission::Mismatch(job) => Step::Over(self.mismatch(job)),
            Admission::Letter(job) => Step::Over(Next::Redrive(job)),
            Admission::Invalid(job, error) => Step::Over(self.unclaimable(job, error)),
            Admission::Suspect(job, wait) => Step::Over(self.suspect(job, wait)),
            Admission::Run(ticket) => {
                *held = Held::default();
                self.start(ticket)
            }
        }
    }

    /// A message that may have killed its worker, after `wait`.
    pub(crate) fn suspect(&self, job: Job<D>, wait: Duration) -> Next<D> {
        job.delivery.note(Stage::Retrying);
        match wait.is_zero() {
            true => Next::Alone(job),
            false => Next::Later(Job { paced: true, ..job }, wait),
        }
    }

    pub(crate) fn busy(&self, job: Job<D>, free_in: Duration, held: &mut Held) -> Next<D> {
        held.waits = held.waits.saturating_add(1);
        let since = *held.since.get_or_insert_with(Instant::now);
        job.delivery.note(Stage::Busy);
        let pause = self.settings.backoff.after(held.waits).min(BUSY_MAX);
        let (job, wait) = match free_in.is_zero() {
            // Nobody holds it, and this token is refused: it is that of a claim that was granted and has been released
            // since (by hand, after a lost answer). It would be refused for ever, as the ghost of that claim. A new
            // token can run nothing twice: whichever of the two is granted, the other finds it claimed or settled.
            true => (job.renewed(), pause),
            // Its own token: the claim was not granted, and may yet be if this was a late copy.
            false => (job, pause.min(free_in.saturating_add(Duration::from_millis(1)))),
        };
        // All of the hold is waited for, and the store is asked at its end.
        match self.settings.busy_timeout.saturating_sub(since.elapsed()) {
            Duration::ZERO => Next::Stop(job.unsettled(Why::Busy { free_in })),
            left => Next::Later(job, wait.min(left)),
        }
    }

    fn start(&self, ticket: Ticket<D>) -> Step<'_, D> {
        if !ticket.job.delivery.is_current() || self.stop.is_on() {
            let why = if self.stop.is_on() { Why::Stopped } else { Why::NotCurrent };
            let back = async move { Next::Stop(sole(self.hand_back(smallvec![ticket], &why).await)) };
            return Step::Other(back.boxed());
        }
        if let Some(reason) = ticket.job.dead_lettered.clone() {
            return Step::Over(self.dead_letter(ticket, reason, false));
        }
        let (attempts, vanished) = (self.settings.attempts, ticket.lease.previous == Previous::Vanished);
        if ticket.lease.attempt > attempts && self.buries {
            let reason = match vanished {
                true => format!("{attempts} attempts ended without a word: it may be what kills the worker"),
                false => format!("failed {attempts} times; its burial was interrupted before"),
            };
            return Step::Over(self.dead_letter(ticket, reason, vanished));
        }
        // An inbox has no unknown outcome: an effect that did not commit did not happen.
        if vanished && self.meters.class != Class::Inbox {
            return self.after_unknown(ticket);
        }
        Step::Run(ticket)
    }

    fn run_one(&self, ticket: Ticket<D>) -> impl Future<Output = Next<D>> + Send {
        let hold = self.hold(std::slice::from_ref(&ticket));
        self.work(smallvec![ticket], hold).map(sole)
    }

    fn after_unknown(&self, ticket: Ticket<D>) -> Step<'_, D> {
        match &self.settings.on_unknown {
            OnUnknown::RunAgain => Step::Run(ticket),
            OnUnknown::Park => {
                Step::Over(self.dead_letter(ticket, "outcome unknown: its worker vanished", true))
            }
            OnUnknown::Ask(probe) => Step::Other(self.probed(ticket, probe.as_ref()).boxed()),
        }
    }

    /// Asks whether the effect happened, under the limits of a handler.
    async fn probed(&self, ticket: Ticket<D>, probe: &dyn Probe) -> Next<D> {
        let hold = self.hold(std::slice::from_ref(&ticket));
        ticket.job.delivery.note(Stage::Running);
        let cx = Context::of(ticket.lease.clone()).with_window(self.settings.window);
        let asked = AssertUnwindSafe(probe.probe(&cx)).catch_unwind();
        let found = tokio::select! {
            biased;
            found = asked => found.map_err(|_| "the probe panicked"),
            why = self.cut_short(1, &hold) => Err(why),
        };
        let answer = match found {
            Ok(Found::NotHappened) => return sole(self.work(smallvec![ticket], hold).await),
            Ok(Found::Happened) => Ok(Effect::from(())),
            Ok(Found::CannotTell) => {
                return self.leave_to_bury(ticket, "outcome unknown: the probe cannot tell", true, &hold);
            }
            Err(why) => {
                hold.cancel();
                tracing::warn!(target: "ackonce", scope = self.scope.name(), "asking the probe: {why}");
                Err(Failure::Cancelled(why.into()))
            }
        };
        let mut group = smallvec![ticket];
        sole(self.conclude(&mut group, Handled { answers: smallvec![answer], hold }).await)
    }

    /// Runs a message that may have killed its worker, with no other such message beside it. It waits for its turn
    /// without a slot, and is claimed once it has both.
    async fn alone(&self, job: Job<D>, held: &mut Held) -> Next<D> {
        let turn = match self.unless_unwanted(&job, self.quarantine.acquire()).await {
            Ok(turn) => turn,
            Err(why) => return Next::Stop(job.unsettled(why)),
        };
        let slot = match self.slot(&job).await {
            Ok(slot) => slot,
            Err(why) => return Next::Stop(job.unsettled(why)),
        };
        let next = match self.step(sole(self.claim(smallvec![job]).await), held) {
            Step::Over(next) => next,
            Step::Run(ticket) => self.run_one(ticket).await,
            Step::Other(step) => step.await,
        };
        drop((turn, slot));
        self.slot_freed.notify_one();
        next
    }

    pub(crate) fn mismatch(&self, job: Job<D>) -> Next<D> {
        match self.settings.on_mismatch {
            OnMismatch::HandBack => Next::Stop(job.unsettled(Why::Mismatch)),
            OnMismatch::Bury if self.buries => self.beside_the_first(job),
            // Or its payload would be given up.
            OnMismatch::Fail | OnMismatch::Bury => {
                let error = mismatch_error(&job);
                Next::Stop(job.unsettled(Why::Fatal(error)))
            }
        }
    }
}

impl<D: Delivery, H: Send + Sync> Inner<D, H> {
    /// Waits, unless stopped or revoked meanwhile; `Err` says why not to go on.
    pub(crate) async fn unless_unwanted<T>(
        &self,
        job: &Job<D>,
        ready: impl Future<Output = T>,
    ) -> Result<T, Why> {
        let mut ready = pin!(ready);
        if !job.delivery.is_current() {
            return Err(Why::NotCurrent);
        }
        loop {
            let done = tokio::select! {
                biased;
                () = self.stop.on() => return Err(Why::Stopped),
                done = &mut ready => Some(done),
                () = tokio::time::sleep(LOOK_UP) => None,
            };
            match done {
                _ if !job.delivery.is_current() => return Err(Why::NotCurrent),
                Some(done) => return Ok(done),
                None => {}
            }
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
