//! The processes under test: consumers that are killed and paused.

mod by_hand;
mod consumers;
mod feed;
mod handlers;

use std::sync::Arc;
use std::time::Duration;

use ackonce::{CancellationToken, Deduplicator, Handler, OnStart, Settings};
use ackonce_cli::stores::{Opened, StoreUrl};

use crate::plan::{Mode, Place, Plan};

/// A message that so many killed workers had in hand is buried as the cause of their deaths. Here they die for other reasons,
/// some hundred times in a minute: at the default of 15 their victims would be buried.
const ATTEMPTS: u32 = 100_000;

/// Works until SIGTERM.
pub(crate) async fn work(plan: &Plan) -> anyhow::Result<()> {
    let shutdown = ackonce::shutdown_on_signals()?;
    if matches!(plan.mode, Mode::RecordThenRun | Mode::RunThenRecord) {
        return by_hand::work(plan, &shutdown).await;
    }
    let store: StoreUrl = plan.store.parse()?;
    // It may be in the middle of an outage.
    let store = store.open_at_start(OnStart::Wait, &shutdown).await?;
    let task = Task { plan, store, shutdown };
    match &plan.place {
        Place::Feed => handlers::work::<feed::Feed>(&task).await,
        Place::Kafka { .. } => handlers::work::<consumers::Kafka>(&task).await,
        Place::Rabbitmq { .. } => handlers::work::<consumers::Rabbitmq>(&task).await,
    }
}

/// A worker's own part of the run.
struct Task<'a> {
    plan: &'a Plan,
    store: Opened,
    shutdown: CancellationToken,
}

impl Task<'_> {
    fn settings(&self) -> Settings {
        Settings::default()
            .with_lease(Duration::from_millis(self.plan.lease_ms))
            .with_concurrency(8)
            .with_attempts(ATTEMPTS)
    }

    /// The server's URL without the options of the store.
    fn store_address(&self) -> &str {
        self.plan.store.split('?').next().unwrap_or_default()
    }

    fn deduplicator(&self) -> Arc<dyn Deduplicator> {
        self.store.deduplicator()
    }
}

/// A consumer of the run's source.
trait Consumer {
    type Message: Send + Sync + 'static;

    /// Consumes until the shutdown.
    async fn consume<H: Handler<Self::Message>>(task: &Task<'_>, handler: H) -> anyhow::Result<()>;
}
