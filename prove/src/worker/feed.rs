//! The feed: a worker's lines of a file, delivered again after its restart until it has acknowledged them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, Mode, Ordered, Receipt, RecordOnly, Unsettled};
use ackonce::{Handler, Runner, Scope};
use ackonce_testkit::crash::point;
use ackonce_testkit::lines;
use tokio::sync::mpsc;

use super::{Consumer, Task};
use crate::plan::{Plan, SCOPE};

/// The most lines of a chunk.
const CHUNK: usize = 16;
/// The time between two looks at a feed without new lines.
const LOOK: Duration = Duration::from_millis(2);

/// One delivery: a line of the feed.
struct Line(usize);

impl Delivery for Line {
    type Message = ();

    fn message(&self) {}
}

pub(super) struct Feed;

impl Consumer for Feed {
    type Message = ();

    async fn consume<H: Handler<()>>(task: &Task<'_>, handler: H) -> anyhow::Result<()> {
        let scope = Scope::new(SCOPE)?;
        let (store, settings) = (task.deduplicator(), task.settings());
        let runner = Runner::with(store, &scope, handler, settings, Arc::new(RecordOnly))?;
        let acks = lines::Writer::open(task.plan.acks())?;
        let (acked, mut acknowledged) = mpsc::unbounded_channel::<usize>();
        let writing = std::thread::spawn(move || -> std::io::Result<()> {
            while let Some(line) = acknowledged.blocking_recv() {
                point("before-ack");
                acks.append(line.to_string())?;
            }
            Ok(())
        });
        let (input, jobs) = mpsc::channel(1);
        let (plan, shutdown) = (task.plan.clone(), task.shutdown.clone());
        let reading = tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => Ok(()),
                delivered = deliver(&plan, &scope, input) => delivered,
            }
        });
        let settled = move |ended: Vec<Result<Receipt<Line>, Unsettled<Line>>>| {
            for receipt in ended.into_iter().flatten() {
                let Line(line) = receipt.redeem();
                // The writer is the last to go.
                let _ = acked.send(line);
            }
        };
        runner.consume(jobs, Mode::Batches, settled).await?;
        reading.await??;
        writing.join().map_err(|_| anyhow::anyhow!("acknowledging panicked"))??;
        Ok(())
    }
}

/// Every line of this worker that is not acknowledged, in order, and then new ones.
async fn deliver(plan: &Plan, scope: &Scope, input: mpsc::Sender<Vec<Ordered<Line>>>) -> anyhow::Result<()> {
    let acked: HashSet<usize> =
        lines::read(plan.acks())?.iter().map(|line| line.parse()).collect::<Result<_, _>>()?;
    let mut feed = lines::Reader::new(plan.feed());
    let (mut came, mut line) = (VecDeque::new(), 0);
    loop {
        came.extend(feed.catch_up()?);
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK
            && let Some(id) = came.pop_front()
        {
            if plan.has(line) && !acked.contains(&line) {
                chunk.push(Ordered { lane: None, job: Job::new(scope.key(id)?, Line(line)) });
            }
            line += 1;
        }
        if chunk.is_empty() {
            tokio::time::sleep(LOOK).await;
        } else if input.send(chunk).await.is_err() {
            return Ok(());
        }
    }
}
