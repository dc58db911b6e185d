//! A feed without a broker: a file that grows. Each worker is responsible for every n-th line of it, and acknowledges a line by
//! appending its number to a file of its own; after a restart it is delivered all that it has not acknowledged.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use ackonce::adapter::{Delivery, Job, Mode, Ordered};
use ackonce::{CancellationToken, Handler, Runner, Scope};
use ackonce_testkit::crash::point;
use ackonce_testkit::lines;
use tokio::sync::mpsc;

/// The most lines of a chunk.
const CHUNK: usize = 16;
/// The time between two looks at a feed without new lines.
const LOOK: Duration = Duration::from_millis(2);

/// One worker's share of a feed.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "named for what they are")]
pub struct Share {
    /// The deliveries: a message ID a line.
    pub feed: PathBuf,
    /// The numbers of the lines that this worker has acknowledged.
    pub acks: PathBuf,
    pub worker: usize,
    pub workers: usize,
}

impl Share {
    /// True if the feed delivers the line to this worker.
    #[must_use]
    pub fn has(&self, line: usize) -> bool {
        line % self.workers == self.worker
    }

    /// The lines that are acknowledged so far.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn acked(&self) -> anyhow::Result<HashSet<usize>> {
        let acks = lines::read(&self.acks)?;
        Ok(acks.iter().map(|line| line.parse()).collect::<Result<_, _>>()?)
    }
}

/// One delivery: a line of the feed.
#[derive(Debug)]
pub struct Line(usize);

impl Delivery for Line {
    type Message = ();

    fn message(&self) {}
}

/// Delivers the share to the runner until the shutdown. Passes the points `before-claim` before each chunk, and `before-ack`
/// before each acknowledgement.
///
/// # Errors
/// Of the files and of the runner.
pub async fn consume<H: Handler<()>>(
    share: Share,
    runner: Runner<Line, H>,
    scope: Scope,
    mode: Mode,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let acks = lines::Writer::open(&share.acks)?;
    let (acked, mut acknowledged) = mpsc::unbounded_channel::<usize>();
    let writing = std::thread::spawn(move || -> std::io::Result<()> {
        while let Some(line) = acknowledged.blocking_recv() {
            point("before-ack");
            acks.append(line.to_string())?;
        }
        Ok(())
    });
    let (input, jobs) = mpsc::channel(1);
    let reading = tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            delivered = deliver(&share, &scope, input) => delivered,
        }
    });
    runner
        .consume(jobs, mode, move |ended| {
            for receipt in ended.into_iter().flatten() {
                let Line(line) = receipt.redeem();
                // The writer is the last to go.
                let _ = acked.send(line);
            }
        })
        .await?;
    reading.await??;
    writing.join().map_err(|_| anyhow::anyhow!("acknowledging panicked"))??;
    Ok(())
}

/// Every line of this worker that is not acknowledged, in order, and then new ones.
async fn deliver(
    share: &Share,
    scope: &Scope,
    input: mpsc::Sender<Vec<Ordered<Line>>>,
) -> anyhow::Result<()> {
    let acked = share.acked()?;
    let mut feed = lines::Reader::new(&share.feed);
    let (mut came, mut line) = (VecDeque::new(), 0);
    loop {
        came.extend(feed.catch_up()?);
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK
            && let Some(id) = came.pop_front()
        {
            if share.has(line) && !acked.contains(&line) {
                chunk.push(Ordered { lane: None, job: Job::new(scope.key(id)?, Line(line)) });
            }
            line += 1;
        }
        if chunk.is_empty() {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        point("before-claim");
        if input.send(chunk).await.is_err() {
            return Ok(());
        }
    }
}
