//! The handler: it follows the plan, and writes down the effects.

use std::panic::resume_unwind;
use std::sync::Arc;

use ackonce::{Answer, Class, Context, Effect, Failure, Handler, Item};
use async_trait::async_trait;

use crate::plan::{Behaviour, Wrong};
use crate::process::Process;
use crate::world::World;

/// A message of an adapter, as the simulation knows it.
pub trait Numbered: Send + 'static {
    /// Its number, which is also its ID as text.
    fn number(&self) -> u32;

    /// Its lane, and its place there, where messages keep their order.
    fn lane(&self) -> Option<(usize, usize)>;
}

/// The handler of a process.
#[derive(Debug)]
pub struct PlannedHandler(pub(crate) Process);

#[async_trait]
impl<M: Numbered> Handler<M> for PlannedHandler {
    fn class(&self) -> Class {
        self.0.world.plan.class
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(items.len());
        for Item { cx, message } in items {
            let (id, lane) = (message.number(), message.lane());
            answers.push(self.run(&cx, id, lane).await);
        }
        answers
    }
}

impl PlannedHandler {
    async fn run(&self, cx: &Context, id: u32, lane: Option<(usize, usize)>) -> Answer {
        let Self(process) = self;
        let world = &process.world;
        let (behaviour, takes) = world.behaviour(id);
        let lanes = world.lanes.get();
        let place = lane.zip(lanes).filter(|_| world.plan.in_order);
        let earlier = place.and_then(|((lane, at), lanes)| lanes.get(lane)?.get(..at)).unwrap_or_default();
        let index = world.inner().begin(process.now(), process.name, id, cx.fence(), earlier);
        let run = Running { world: world.clone(), index };
        tokio::time::sleep(takes).await;
        let wrong = match behaviour {
            Behaviour::Permanent => return Err(Failure::permanent("never")),
            Behaviour::Succeeds => None,
            Behaviour::After(times, wrong) => (world.inner().ledger.end(id) <= times).then_some(wrong),
        };
        match wrong {
            Some(Wrong::Retry) => return Err(Failure::from("again")),
            Some(Wrong::Infrastructure) => return Err(Failure::infrastructure("down")),
            Some(Wrong::Unknown) => return Err(Failure::unknown("no answer")),
            // Without a word on the test's output.
            Some(Wrong::Panics) => resume_unwind(Box::new("planned")),
            None => {}
        }
        world.inner().take_effect(process.now(), run.index, cx.idempotency_key("effect"));
        // A process may die after the effect, too.
        process.wait(30).await;
        Ok(Effect::from(()))
    }
}

/// One run, until it ends or is dropped.
struct Running {
    world: Arc<World>,
    index: usize,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.world.inner().ledger.leave(self.index);
    }
}
