//! Trips to the store, repeated with the same tokens until the store has answered.

use std::pin::pin;
use std::time::Duration;

use metrics::Histogram;
use tokio::time::Instant;

use crate::chain::chain;
use crate::claim::{ClaimRequest, Claimed};
use crate::dropping::{drop_in, poll_in};
use crate::error::{Error, ErrorKind, Repeat, Result};
use crate::handler::Handler;
use crate::settle::{Attempt, Settle, Settled, Settlement};
use crate::switch::Switch;
use crate::ticket::{Delivery, Job, Stage, Why};

use super::rare::rare;
use super::state::{Group, State};
use super::{Inner, Runner};

/// The failures of one trip so far.
#[derive(Default)]
pub(super) struct Tries {
    failures: u32,
    /// When it was sent for the first time.
    since: Option<Instant>,
}

impl<D: Delivery, H: Send + Sync> Inner<D, H> {
    /// Makes a trip until the store answers it: its answer, and when the call that was answered was sent. `Err` if the
    /// store refuses for good, `Settings::store_timeout` is over, or the switch is on after a failure.
    pub(super) async fn trip<T, F: Future<Output = Result<T>>>(
        &self,
        until: &Switch,
        time: &Histogram,
        tries: &mut Tries,
        call: impl Fn() -> F,
    ) -> Result<(T, Instant), Why> {
        loop {
            let sent = Instant::now();
            let since = *tries.since.get_or_insert(sent);
            let mut calling = pin!(Some(call()));
            let answer = tokio::select! {
                biased;
                answer = poll_in(calling.as_mut()) => Ok(answer),
                () = self.abort.on() => Err(Why::Stopped),
                () = self.store_timeout(since) => Ok(Err(no_answer())),
            };
            drop_in(calling, "a store's call");
            let answer = answer?;
            time.record(sent.elapsed());
            match answer {
                Ok(answer) => {
                    // At the level of the line that it ends, so that all who saw that see this.
                    if self.store_outage.recovered() {
                        tracing::warn!(target: "ackonce", scope = self.scope.name(), "the store answers again");
                    }
                    return Ok((answer, sent));
                }
                Err(error) => rare(self.back_off(error, tries)).await?,
            }
            if until.is_on() {
                return Err(Why::Stopped);
            }
        }
    }

    /// Ready once the store has had its time since that moment; a store that hangs gets a third of the lease at least.
    async fn store_timeout(&self, since: Instant) {
        if self.settings.store_timeout == Duration::MAX {
            std::future::pending().await
        }
        let left = self.settings.store_timeout.saturating_sub(since.elapsed()).max(self.settings.lease / 3);
        rare(tokio::time::sleep(left)).await;
    }

    /// Waits before a call that failed is repeated; `Err` if it is not to be repeated.
    async fn back_off(&self, error: Error, tries: &mut Tries) -> Result<(), Why> {
        if error.repeat() == Repeat::Never {
            tracing::error!(target: "ackonce", scope = self.scope.name(), error = %chain(&error), "the store refuses; nothing is acknowledged");
            return Err(Why::Fatal(error));
        }
        tries.failures += 1;
        self.metrics.store_unavailable.add(1);
        let failures = tries.failures;
        self.store_outage.warn(|more| {
            tracing::warn!(target: "ackonce", scope = self.scope.name(), error = %chain(&error), failures, more,
                "the store does not answer; nothing is acknowledged");
        });
        // All of the time-out is waited for, and the store is asked at its end.
        let spent = tries.since.map_or(Duration::ZERO, |since| since.elapsed());
        let left = self.settings.store_timeout.saturating_sub(spent);
        if left.is_zero() {
            return Err(Why::Unavailable(error));
        }
        let wait = self.settings.backoff.after(failures).min(self.settings.lease / 3).min(left);
        tokio::select! {
            () = self.abort.on() => {}
            () = tokio::time::sleep(wait) => {}
        }
        Ok(())
    }

    /// Settles in one trip; one answer for each settlement, in order. An error is final.
    pub(super) async fn settle_all(&self, settlements: &[Settlement]) -> Group<Result<Settled, Why>> {
        let all = |why: &Why| settlements.iter().map(|_| Err(why.clone())).collect();
        if self.abort.is_on() {
            return all(&Why::Stopped);
        }
        let (mut tries, time) = (Tries::default(), &self.metrics.settle_time);
        let call = || self.store.settle_unboxed(settlements);
        let answers = match self.trip(&self.abort, time, &mut tries, call).await {
            Ok((answers, _)) => answers.into_iter(),
            Err(why) => return all(&why),
        };
        let mut settled: Group<Result<Settled, Why>> = Group::new();
        for (settlement, answer) in settlements.iter().zip(answers) {
            settled.push(match answer {
                Ok(answer) => Ok(answer),
                Err(error) if error.repeat() == Repeat::Never => Err(Why::Fatal(error)),
                Err(error) => match not_settled_before(settlements, &settled, settlement) {
                    // A release does not come before the save that was given up.
                    Some(why) => Err(why),
                    None => rare(self.settle_locked(settlement, error, &mut tries)).await,
                },
            });
        }
        settled
    }

    /// Settles one whose record another transaction holds. Those beside it have their answers, and are not sent again:
    /// somebody may have claimed a released one since.
    async fn settle_locked(
        &self,
        settlement: &Settlement,
        mut error: Error,
        tries: &mut Tries,
    ) -> Result<Settled, Why> {
        loop {
            self.back_off(error, tries).await?;
            let call = || self.store.settle_unboxed(std::slice::from_ref(settlement));
            let (answers, _) = self.trip(&self.abort, &self.metrics.settle_time, tries, call).await?;
            match answers.into_iter().next() {
                Some(Ok(settled)) => return Ok(settled),
                Some(Err(again)) if again.repeat() != Repeat::Never => error = again,
                Some(Err(refused)) => return Err(Why::Fatal(refused)),
                None => {
                    let message = "the store did not answer a settlement";
                    return Err(Why::Fatal(Error::new(ErrorKind::Protocol, message)));
                }
            }
        }
    }

    /// A release without a back-off: the claim goes back for a reason that is not the message's.
    pub(super) fn hand_back(&self, attempt: Attempt) -> Settle {
        Settle::Release { attempt, window: self.settings.window, not_before: Duration::ZERO }
    }

    /// The state after a settlement that the store did not confirm. A claim that is gone is asked for again.
    pub(super) fn not_settled(&self, mut job: Job<D>, answer: Result<Settled, Why>) -> State<D> {
        match answer {
            Ok(_) => {
                // A store that forgets its records would have it run again and again.
                job.failures = job.failures.saturating_add(1);
                job.delivery.note(Stage::Retrying);
                let wait = self.settings.backoff.after(job.failures);
                State::Waiting(job.renewed(), wait)
            }
            Err(why) => State::unsettled(job, why),
        }
    }
}

/// Claims and settlements beside the deliveries: a schedule's questions to the store.
impl<D: Delivery, H: Handler<D::Message>> Runner<D, H> {
    /// Claims in one trip; one answer for each request, in order.
    pub(crate) async fn ask(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        self.ask_each(requests).await?.into_iter().collect()
    }

    /// The same; a request that the store can never carry out costs the others nothing.
    pub(crate) async fn ask_each(&self, requests: &[ClaimRequest]) -> Result<Vec<Result<Claimed>>> {
        let inner = &*self.inner;
        let (mut tries, time) = (Tries::default(), &inner.metrics.claim_time);
        let call = || inner.store.claim_unboxed(requests);
        let (answers, _) = inner.trip(&inner.stop, time, &mut tries, call).await.map_err(error_of)?;
        Ok(answers.into_iter().collect())
    }

    /// Settles in one trip; one answer for each settlement, in order.
    pub(crate) async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let answers = self.inner.settle_all(settlements).await;
        answers.into_iter().map(|answer| answer.map_err(error_of)).collect()
    }

    /// Counts slots that are not run.
    pub(crate) fn count_skipped(&self, slots: u64) {
        self.inner.metrics.skipped.add(slots);
    }
}

/// The failure of an earlier settlement of the same record.
fn not_settled_before(
    settlements: &[Settlement],
    settled: &[Result<Settled, Why>],
    settlement: &Settlement,
) -> Option<Why> {
    let mut before = settlements.iter().zip(settled).filter(|(before, _)| before.key == settlement.key);
    before.find_map(|(_, answer)| answer.as_ref().err().cloned())
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "the store did not answer within Settings::store_timeout")
}

fn error_of(why: Why) -> Error {
    match why {
        Why::Fatal(error) | Why::Unavailable(error) => error,
        _ => Error::new(ErrorKind::Stopped, "the runner was stopped"),
    }
}
