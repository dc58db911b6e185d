//! A worker process: a runtime with a clock of its own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::Delivery;
use ackonce::{Runner, Scope};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::handler::{Numbered, PlannedHandler};
use crate::letters::Letters;
use crate::store::Reached;
use crate::world::World;

/// A worker process, as its own tasks know it.
#[derive(Debug, Clone)]
pub struct Process {
    /// The world that it is in.
    pub world: Arc<World>,
    /// Its number, which no later process has.
    pub name: u32,
    born: u64,
    start: Instant,
}

impl Process {
    /// Its clock, in microseconds since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.born + u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Waits for a number of milliseconds up to `most`, at least one.
    pub async fn wait(&self, most: u64) {
        let time = self.world.millis(most);
        tokio::time::sleep(time).await;
    }

    /// The scope of all messages.
    #[must_use]
    pub fn scope() -> Scope {
        #[expect(clippy::expect_used, reason = "a constant")]
        Scope::new("simulated").expect("it is a scope")
    }

    /// The runner of this process.
    #[must_use]
    pub fn runner<D: Delivery<Message: Numbered>>(&self) -> Runner<D, PlannedHandler> {
        let settings = self.world.plan.settings();
        let store = Arc::new(Reached(self.clone()));
        let (handler, letters) = (PlannedHandler(self.clone()), Arc::new(Letters(self.clone())));
        #[expect(clippy::expect_used, reason = "the plan's settings are right")]
        Runner::with_heartbeat_task(store, &Self::scope(), handler, settings, letters).expect("a runner")
    }
}

/// The runtime of a process.
#[derive(Debug)]
pub(crate) struct Machine {
    runtime: Runtime,
    pub(crate) process: Process,
}

impl Machine {
    pub(crate) fn start(world: &Arc<World>, name: u32, now: u64) -> Self {
        #[expect(clippy::expect_used, reason = "without input and output it opens nothing")]
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let start = runtime.block_on(async { Instant::now() });
        Self { runtime, process: Process { world: world.clone(), name, born: now, start } }
    }

    pub(crate) fn enter(&self, tasks: impl Future<Output = ()>) {
        self.runtime.block_on(tasks);
    }

    /// Lets its tasks run until that moment of its clock.
    pub(crate) fn run_until(&self, now: u64) {
        let then = self.process.start + Duration::from_micros(now - self.process.born);
        self.runtime.block_on(async { tokio::time::sleep_until(then).await });
    }

    /// Goes on after it stood still: its clock jumps, and its timers are late.
    pub(crate) fn wake(&self, now: u64) {
        let missed = Duration::from_micros(now.saturating_sub(self.process.now_outside(&self.runtime)));
        self.runtime.block_on(tokio::time::advance(missed));
    }
}

impl Process {
    fn now_outside(&self, runtime: &Runtime) -> u64 {
        runtime.block_on(async { self.now() })
    }
}
