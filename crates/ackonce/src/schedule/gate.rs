//! Under the claim, before the handler: whether this slot is to run, by the store's clock and by the policy.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use crate::{Answer, Class, Context, Delivery, Failure, Handler, Item, Previous};

use super::slots::Slot;

/// How far a host's clock may be ahead of the store's before a slot has to wait.
const EARLY: Duration = Duration::from_secs(1);

/// A slot on its way to the handler. Clones are of one way.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) slot: Slot,
    plan: Plan,
    /// How long until the slot begins, once a claim has told.
    early: Arc<OnceLock<Duration>>,
}

/// What the policy says of a slot that nobody has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    Run,
    Skip,
}

impl Due {
    pub(super) fn new(slot: Slot, plan: Plan) -> Self {
        Self { slot, plan, early: Arc::default() }
    }

    /// How long until the slot begins, if it was asked for too early; then it was handed back.
    pub(super) fn early(&self) -> Option<Duration> {
        self.early.get().copied()
    }

    /// The same slot, to be asked for anew.
    pub(super) fn again(&self) -> Self {
        Self::new(self.slot, self.plan)
    }
}

impl Delivery for Due {
    type Message = Self;

    fn message(&self) -> Self {
        self.clone()
    }

    fn is_current(&self) -> bool {
        self.early().is_none()
    }
}

/// The store's clock when it granted this claim, as the fence tells it.
pub(super) fn store_time(cx: &Context) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_micros(cx.fence())).unwrap_or(UNIX_EPOCH)
}

/// A handler of slots that are to run.
#[derive(Debug)]
pub(super) struct Gate<H> {
    pub(super) handler: H,
    pub(super) window: Duration,
}

impl<H> Gate<H> {
    fn check(&self, cx: &Context, due: &Due) -> Result<(), Failure> {
        let now = store_time(cx);
        if let Ok(early) = due.slot.start.duration_since(now)
            && early > EARLY
        {
            let _ = due.early.set(early);
            return Err(Failure::infrastructure("by the store's clock this slot has not begun"));
        }
        if now.duration_since(due.slot.start).is_ok_and(|age| age > self.window) {
            return Err(Failure::permanent(
                "by the store's clock this slot is older than its record would live",
            ));
        }
        // Begun once, by anybody: not missed.
        if due.plan == Plan::Skip && cx.attempt() == 1 && cx.previous() == Previous::None {
            return Err(Failure::permanent("missed, and the policy is to skip it"));
        }
        Ok(())
    }
}

#[async_trait]
impl<H: Handler<Slot>> Handler<Due> for Gate<H> {
    fn class(&self) -> Class {
        self.handler.class()
    }

    /// Slots are run one by one, each under a claim of its own.
    async fn handle(&self, items: Vec<Item<Due>>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(items.len());
        for Item { cx, message } in items {
            answers.push(match self.check(&cx, &message) {
                Err(failure) => Err(failure),
                Ok(()) => {
                    let item = Item { cx, message: message.slot };
                    let mut answer = self.handler.handle(vec![item]).await;
                    answer.pop().unwrap_or_else(|| Err(Failure::unknown("the handler gave no answer")))
                }
            });
        }
        answers
    }
}
