//! The feed: this worker's share of a file.

use std::sync::Arc;

use ackonce::adapter::RecordOnly;
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
        feed::consume(task.plan.share(), runner, scope, task.shutdown.clone()).await
    }
}
