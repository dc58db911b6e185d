//! From tickets to answers: one group of claims, run under a heartbeat. `run` makes groups of one,
//! `run_batch` of a whole chunk.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::Either;
use smallvec::smallvec;
use tokio::time::Instant;
use tracing::Instrument;

use crate::handler::no_answer;
use crate::heartbeat::Hold;
use crate::observe::{decide, panic_text};
use crate::{
    Answer, Class, Context, Delivery, Failure, Handler, Item, Settle, Settled, Settlement, Stage, Ticket,
};

use super::conclude::Next;
use super::{Group, Inner, each};

/// A handler's answers for a group, which is held by the heartbeat until it is settled: a store that does not
/// answer may take its time.
pub(crate) struct Handled {
    pub(crate) answers: Group<Answer>,
    pub(crate) hold: Hold,
}

/// The result of running a group.
pub(crate) enum Worked<D> {
    /// To be settled by the handler's answers.
    Handled(Handled),
    /// [`Class::AtMostOnce`]: it was settled before it ran.
    Over(Group<Next<D>>),
}

impl<D: Delivery, H> Inner<D, H> {
    /// Keeps the leases of a group.
    pub(crate) fn hold(&self, group: &[Ticket<D>]) -> Hold {
        let claimed = group.iter().map(|t| t.claimed).min().unwrap_or_else(Instant::now);
        let grants = each(group.iter().map(|t| t.lease.clone()));
        self.heartbeat.hold(grants, claimed)
    }
}

impl<D: Delivery, H: Handler<D::Message>> Inner<D, H> {
    /// Runs one group of claims and settles it. One answer per ticket, in order.
    pub(crate) fn work(
        &self,
        mut group: Group<Ticket<D>>,
        hold: Hold,
    ) -> impl Future<Output = Group<Next<D>>> + Send {
        async move {
            let handled = match self.handle(&mut group, hold).await {
                Worked::Handled(handled) => handled,
                Worked::Over(next) => return next,
            };
            self.conclude(&mut group, handled).await
        }
    }

    /// Runs one group of claims. It is taken out of `group` if it is over after that.
    pub(crate) async fn handle(&self, group: &mut Group<Ticket<D>>, hold: Hold) -> Worked<D> {
        if self.meters.class == Class::AtMostOnce {
            return Worked::Over(Box::pin(self.record_then_run(std::mem::take(group), &hold)).await);
        }
        let answers = self.run(group, &hold).await;
        Worked::Handled(Handled { answers, hold })
    }

    async fn run(&self, group: &[Ticket<D>], hold: &Hold) -> Group<Answer> {
        let mut items = Group::with_capacity(group.len());
        for ticket in group {
            decide!(debug, self.meters, "run", ticket.job.key, Some(&ticket.lease));
            ticket.job.delivery.note(Stage::Running);
            let cx = Context::of(ticket.lease.clone()).with_window(self.settings.window);
            items.push(Item { cx, message: ticket.job.delivery.message() });
        }
        let _running = self.meters.run(group.len());
        let span = tracing::debug_span!(target: "ackonce", "handle", scope = self.scope.name(), messages = group.len());
        let handling = AssertUnwindSafe(self.answers(items)).catch_unwind().instrument(span);
        let why = tokio::select! {
            biased;
            answers = handling => return match answers {
                Ok(answers) => complete(answers, group.len()),
                Err(panic) => {
                    let text = format!("the handler panicked: {}", panic_text(panic.as_ref()));
                    group.iter().map(|_| Err(Failure::unknown(text.clone()))).collect()
                }
            },
            // Most runs are over before it comes to waiting for this.
            why = async { Box::pin(self.cut_short(group.len(), hold)).await } => why,
        };
        hold.cancel();
        let first = group.first().map(|ticket| ticket.job.delivery.place()).unwrap_or_default();
        tracing::warn!(target: "ackonce", scope = self.scope.name(), messages = group.len(), first, "{why}");
        group.iter().map(|_| Err(Failure::Cancelled(why.into()))).collect()
    }

    fn answers(&self, mut items: Group<Item<D::Message>>) -> impl Future<Output = Group<Answer>> + Send {
        async move {
            let answering = match items.pop() {
                Some(item) if items.is_empty() => Either::Left(self.handler.handle_one(item)),
                last => {
                    items.extend(last);
                    Either::Right(self.handler.handle(items.into_vec()))
                }
            };
            match answering {
                Either::Left(one) => smallvec![one.await],
                Either::Right(all) => all.await.into(),
            }
        }
    }

    /// Ready, with the reason, once a handler may not go on.
    pub(super) async fn cut_short(&self, messages: usize, hold: &Hold) -> &'static str {
        tokio::select! {
            biased;
            () = hold.lost() => {
                self.meters.lease_lost.add(messages as u64);
                "the lease was lost while the handler ran; it was cancelled"
            }
            () = tokio::time::sleep(self.settings.handler_timeout) => {
                "the handler ran past Settings::handler_timeout; it was cancelled"
            }
            () = self.abort.on() => "the handler was cancelled at shutdown",
        }
    }

    /// [`Class::AtMostOnce`]: a message runs only once it is recorded as done, and a failure changes nothing.
    async fn record_then_run(&self, group: Group<Ticket<D>>, hold: &Hold) -> Group<Next<D>> {
        let done = Settle::Complete { window: self.settings.window, outcome: None };
        let settlements: Group<_> = group.iter().map(|t| Settlement::new(&t.lease, done.clone())).collect();
        let recorded = self.settle(&settlements).await;
        let mut next: Vec<Option<Next<D>>> = Vec::new();
        let mut to_run = Group::new();
        for (ticket, settled) in group.into_iter().zip(recorded) {
            next.push(match settled {
                Ok(Settled::Yes) => {
                    to_run.push(ticket);
                    None
                }
                other => Some(self.not_settled(ticket.job, other)),
            });
        }
        let answers = if to_run.is_empty() { Group::new() } else { self.run(&to_run, hold).await };
        let mut ran = to_run.into_iter().zip(answers).map(|(ticket, answer)| {
            if let Err(failure) = answer {
                decide!(warn, self.meters, "failed", ticket.job.key, Some(&ticket.lease), error = %failure,
                    place = ticket.job.delivery.place());
            }
            Next::Settled(ticket.job.receipt(crate::SettledAs::Run))
        });
        next.into_iter().filter_map(|n| n.or_else(|| ran.next())).collect()
    }
}

/// As many answers as items; a handler that gave fewer has an unknown outcome for the rest.
fn complete(mut answers: Group<Answer>, expected: usize) -> Group<Answer> {
    answers.truncate(expected);
    while answers.len() < expected {
        answers.push(no_answer());
    }
    answers
}
