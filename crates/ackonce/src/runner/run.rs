//! From claims to answers: the handler of a group of claims, or the probe of one, under a heartbeat.

use std::panic::AssertUnwindSafe;
use std::pin::pin;

use futures_util::FutureExt;
use smallvec::smallvec;
use tracing::Instrument;

use crate::class::Class;
use crate::dropping::{drop_in, poll_in};
use crate::failure::Failure;
use crate::handler::{Answer, Effect, Handler, Item, no_answer};
use crate::heartbeat::Hold;
use crate::observe::{decision, panic_text, trace};
use crate::settings::{Found, Probe};
use crate::settle::{Settle, Settled, Settlement};
use crate::ticket::{Delivery, Stage, Ticket};

use super::Inner;
use super::rare::rare;
use super::state::{Group, State, each, sole};

/// Messages whose handler has run, in the states that its answers lead to. The heartbeat keeps their claims until they are
/// settled: a store that does not answer may take its time.
pub(super) struct Ran<D> {
    pub(super) states: Group<State<D>>,
    pub(super) hold: Hold,
}

impl<D: Delivery, H: Handler<D::Message>> Inner<D, H> {
    /// Runs the handler once for a group of claims; one state each.
    pub(super) async fn run(&self, mut group: Group<Ticket<D>>, hold: Hold) -> Ran<D> {
        let mut unrecorded = Group::new();
        if self.metrics.class == Class::AtMostOnce {
            (group, unrecorded) = rare(self.record_first(group)).await;
        }
        if group.is_empty() {
            return Ran { states: unrecorded, hold };
        }
        for ticket in &mut group {
            ticket.span = trace::run(&ticket.job.delivery, &ticket.lease, self.metrics.class);
        }
        let answers = self.answers(&group, &hold).await;
        let answered = group.into_iter().zip(answers);
        let mut states = each(answered.map(|(ticket, answer)| self.after_answer(ticket, answer, &hold)));
        states.extend(unrecorded);
        Ran { states, hold }
    }

    /// [`Class::AtMostOnce`]: the messages that are recorded as done before they run, and those that are not.
    async fn record_first(&self, group: Group<Ticket<D>>) -> (Group<Ticket<D>>, Group<State<D>>) {
        let done = Settle::Complete { window: self.settings.window, outcome: None };
        let settlements: Group<_> = group.iter().map(|t| Settlement::new(&t.lease, done.clone())).collect();
        let (mut recorded, mut unrecorded) = (Group::new(), Group::new());
        for (ticket, settled) in group.into_iter().zip(self.settle_all(&settlements).await) {
            match settled {
                Ok(Settled::Yes) => recorded.push(ticket),
                other => unrecorded.push(self.not_settled(ticket.job, other)),
            }
        }
        (recorded, unrecorded)
    }

    /// The handler's answers, as many as there are messages.
    async fn answers(&self, group: &[Ticket<D>], hold: &Hold) -> Group<Answer> {
        let mut items = Group::with_capacity(group.len());
        for ticket in group {
            decision!(debug, self.metrics, "run", ticket.job.key, Some(&ticket.lease));
            ticket.job.delivery.note(Stage::Running);
            let trace = ticket.span.as_ref().map(|run| run.context.clone());
            let cx = self.context(&ticket.lease).in_trace(trace);
            items.push(Item { cx, message: ticket.job.delivery.message() });
        }
        let _running = self.metrics.run(group.iter().map(|ticket| &**ticket.lease));
        let span = match group {
            [Ticket { span: Some(run), .. }] => run.span.clone(),
            _ => {
                tracing::debug_span!(target: "ackonce", "handle", scope = self.scope.name(), messages = group.len())
            }
        };
        let mut handling = pin!(Some(AssertUnwindSafe(self.handle(items)).catch_unwind().instrument(span)));
        let answers = tokio::select! {
            biased;
            answers = poll_in(handling.as_mut()) => Ok(answers),
            why = self.cut_short(group.len(), hold) => Err(why),
        };
        if answers.is_err() {
            hold.cancel();
        }
        drop_in(handling, "the handler");
        let why = match answers {
            Ok(Ok(mut answers)) => {
                answers.truncate(group.len());
                answers.resize_with(group.len(), no_answer);
                return answers;
            }
            Ok(Err(panic)) => {
                let text = format!("the handler panicked: {}", panic_text(panic.as_ref()));
                return group.iter().map(|_| Err(Failure::unknown(text.clone()))).collect();
            }
            Err(why) => why,
        };
        let first = group.first().map(|ticket| ticket.job.delivery.place()).unwrap_or_default();
        tracing::warn!(target: "ackonce", scope = self.scope.name(), messages = group.len(), first, "{why}");
        group.iter().map(|_| Err(Failure::Cancelled(why.into()))).collect()
    }

    async fn handle(&self, mut items: Group<Item<D::Message>>) -> Group<Answer> {
        match items.pop() {
            Some(item) if items.is_empty() => smallvec![self.handler.handle_one(item).await],
            last => {
                items.extend(last);
                self.handler.handle(items.into_vec()).await.into()
            }
        }
    }

    /// Ready, with the reason, once a handler may not go on.
    async fn cut_short(&self, messages: usize, hold: &Hold) -> &'static str {
        let limits = async {
            tokio::select! {
                biased;
                () = hold.lost() => {
                    self.metrics.lease_lost.add(messages as u64);
                    "the lease was lost while the handler ran; it was cancelled"
                }
                () = tokio::time::sleep(self.settings.handler_timeout) => {
                    "the handler ran past Settings::handler_timeout; it was cancelled"
                }
                () = self.abort.on() => "the handler was cancelled at shutdown",
            }
        };
        rare(limits).await
    }

    /// Asks whether the effect happened, under the limits of a handler; runs the handler if it did not.
    pub(super) async fn probe(&self, ticket: Ticket<D>, probe: &dyn Probe) -> State<D> {
        let hold = self.hold(std::slice::from_ref(&ticket));
        ticket.job.delivery.note(Stage::Running);
        let cx = self.context(&ticket.lease);
        let mut asking = pin!(Some(AssertUnwindSafe(probe.probe(&cx)).catch_unwind()));
        let found = tokio::select! {
            biased;
            found = poll_in(asking.as_mut()) => found.map_err(|_| "the probe panicked"),
            why = self.cut_short(1, &hold) => Err(why),
        };
        drop_in(asking, "the probe");
        let answer = match found {
            Ok(Found::NotHappened) => {
                let Ran { states, hold } = self.run(smallvec![ticket], hold).await;
                return sole(self.settle(states, Some(&hold)).await);
            }
            Ok(Found::Happened) => Ok(Effect::from(())),
            Ok(Found::CannotTell) => {
                return self.burying(ticket, "outcome unknown: the probe cannot tell", true, Some(&hold));
            }
            Err(why) => {
                hold.cancel();
                tracing::warn!(target: "ackonce", scope = self.scope.name(), "asking the probe: {why}");
                Err(Failure::Cancelled(why.into()))
            }
        };
        let state = self.after_answer(ticket, answer, &hold);
        sole(self.settle(smallvec![state], Some(&hold)).await)
    }
}
