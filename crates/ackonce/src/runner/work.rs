//! From tickets to answers: one group of claims, run under a heartbeat. `run` makes groups of one,
//! `run_batch` of a whole chunk.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt;
use tracing::Instrument;

use crate::heartbeat::{Hold, Signals};
use crate::observe::decide;
use crate::{
    Answer, Class, Context, Delivery, Effect, Failure, Handler, Item, Settle, Settled, Settlement, Stage,
    Ticket,
};

use super::Inner;
use super::conclude::Next;

/// A group whose handler has answered, held by the heartbeat until it is settled.
pub(crate) struct Handled<D> {
    group: Vec<Ticket<D>>,
    answers: Vec<Answer>,
    hold: Hold,
}

/// What running a group comes to.
pub(crate) enum Worked<D> {
    /// To be settled by the handler's answers.
    Handled(Handled<D>),
    /// [`Class::AtMostOnce`]: it was settled before it ran.
    Over(Vec<Next<D>>),
}

impl<D: Delivery, H: Handler<D::Message>> Inner<D, H> {
    /// Runs one group of claims and settles it. One answer per ticket, in order.
    pub(crate) async fn work(&self, group: Vec<Ticket<D>>) -> Vec<Next<D>> {
        match self.handle(group).await {
            Worked::Handled(handled) => self.settle_handled(handled).await,
            Worked::Over(next) => next,
        }
    }

    /// Runs one group of claims.
    pub(crate) async fn handle(&self, group: Vec<Ticket<D>>) -> Worked<D> {
        let claimed = group.iter().map(|t| t.claimed).min().unwrap_or_else(Instant::now);
        let leases = group.iter().map(|t| t.lease.clone()).collect();
        let hold = self.heartbeat.hold(leases, claimed, Signals::default());
        if self.meters.class == Class::AtMostOnce {
            return Worked::Over(self.record_then_run(group, &hold.signals).await);
        }
        let answers = self.run(&group, &hold.signals).await;
        Worked::Handled(Handled { group, answers, hold })
    }

    /// Settles a group that was run. One answer per ticket, in order.
    pub(crate) async fn settle_handled(&self, handled: Handled<D>) -> Vec<Next<D>> {
        let Handled { group, answers, hold } = handled;
        let next = self.conclude(group, answers).await;
        // Held until here: a burial, or a store that does not answer, may take its time.
        drop(hold);
        next
    }

    async fn run(&self, group: &[Ticket<D>], signals: &Signals) -> Vec<Answer> {
        let mut items = Vec::with_capacity(group.len());
        for ticket in group {
            decide!(debug, self.meters, "run", ticket.job.key, Some(&ticket.lease));
            ticket.job.delivery.note(Stage::Running);
            let cx = Context::new(ticket.lease.clone(), signals.cancelled.clone())
                .with_window(self.settings.window);
            items.push(Item { cx, message: ticket.job.delivery.message() });
        }
        self.meters.run.add(group.len() as u64);
        let span = tracing::debug_span!(target: "ackonce", "handle", scope = self.scope.name(), messages = group.len());
        let handling = AssertUnwindSafe(self.handler.handle(items)).catch_unwind().instrument(span);
        let why: String = tokio::select! {
            biased;
            answers = handling => return match answers {
                Ok(answers) => complete(answers, group.len()),
                Err(panic) => {
                    let text = format!("the handler panicked: {}", panic_text(panic.as_ref()));
                    group.iter().map(|_| Err(Failure::unknown(text.clone()))).collect()
                }
            },
            () = signals.lost.cancelled() => {
                self.meters.lease_lost.add(group.len() as u64);
                "the lease was lost while the handler ran; it was cancelled".into()
            }
            () = tokio::time::sleep(self.settings.run_limit) => {
                "the handler ran past Settings::run_limit; it was cancelled".into()
            }
            () = self.abort.cancelled() => "the handler was cancelled at shutdown".into(),
        };
        signals.cancelled.cancel();
        tracing::warn!(target: "ackonce", scope = self.scope.name(), messages = group.len(), "{why}");
        group.iter().map(|_| Err(Failure::Cancelled(why.clone().into()))).collect()
    }

    /// [`Class::AtMostOnce`]: only what the store has recorded as done is run, and a failure changes nothing.
    async fn record_then_run(&self, group: Vec<Ticket<D>>, signals: &Signals) -> Vec<Next<D>> {
        let done = Settle::Complete { window: self.settings.window, outcome: None };
        let settlements: Vec<_> = group.iter().map(|t| Settlement::new(&t.lease, done.clone())).collect();
        let recorded = self.settle(&settlements).await;
        let mut next: Vec<Option<Next<D>>> = Vec::new();
        let mut to_run = Vec::new();
        for (ticket, settled) in group.into_iter().zip(recorded) {
            next.push(match settled {
                Ok(Settled::Yes) => {
                    to_run.push(ticket);
                    None
                }
                other => Some(self.not_settled(ticket.job, other)),
            });
        }
        let answers = if to_run.is_empty() { Vec::new() } else { self.run(&to_run, signals).await };
        let mut ran = to_run.into_iter().zip(answers).map(|(ticket, answer)| {
            if let Err(failure) = answer {
                decide!(warn, self.meters, "failed", ticket.job.key, Some(&ticket.lease), error = %failure);
            }
            Next::Settled(ticket.job.receipt(crate::SettledAs::Run))
        });
        next.into_iter().filter_map(|n| n.or_else(|| ran.next())).collect()
    }
}

/// As many answers as items; a handler that gave fewer has an unknown outcome for the rest.
fn complete(mut answers: Vec<Answer>, expected: usize) -> Vec<Answer> {
    answers.truncate(expected);
    while answers.len() < expected {
        answers.push(Err::<Effect, _>(Failure::unknown("the batch handler gave no answer for this message")));
    }
    answers
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
