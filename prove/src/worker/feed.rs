//! The feed: this worker's share of a file.

use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{Mode, RecordOnly};
use ackonce::{Handler, Runner, Scope};
use ackonce_tests::feed;

use super::{Consumer, Task};
use crate::plan::SCOPE;

pub(super) struct Feed;

impl Consumer for Feed {
    type Message = ();

    async fn consume<H: Handler<()>>(task: &Task<'_>, handler: H) -> anyhow::Result<()> {
        let scope = Scope::new(SCOPE)?;
        let (store, settings) = (task.deduplicator(), task.settings());
        let runner = Runner::with(store, &scope, handler, settings, Arc::new(RecordOnly))?;
        // A batch shares the fate of its slowest message.
        let lease = Duration::from_millis(task.plan.lease_ms);
        let mode = match task.plan.faults.iter().any(|kind| kind.of_handlers(lease).is_some()) {
            true => Mode::Each,
            false => Mode::Batches,
        };
        feed::consume(task.plan.share(), runner, scope, mode, task.shutdown.clone()).await
    }
}
