//! A worker: the runner, over its share of the deliveries.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use ackonce::adapter::{Delivery, Job, Mode, Ordered, RecordOnly};
use ackonce::{Context, Failure, Keyed, Runner, Scope, Settings};
use ackonce_sqlite::SqliteStore;
use anyhow::{Context as _, Result};
use tokio::sync::mpsc;

use super::{CHUNK, LEASE, Order, message};
use crate::SCOPE;

/// Bytes of an acknowledgement: the number of the delivery.
pub(super) const ACK: u64 = 8;
/// Bytes of an effect: the number of the message, and 64 bits of its idempotency key.
pub(super) const EFFECT: usize = 16;
/// Handlers at once; so many effects may wait for their record when a worker dies.
pub(super) const CONCURRENCY: usize = 500;
/// A message that so many killed workers had in hand would be buried as the cause.
const ATTEMPTS: u32 = 100_000;

#[derive(Debug)]
struct Numbered(u64);

impl Delivery for Numbered {
    type Message = ();

    fn message(&self) {}
}

/// A file of entries that are appended whole. The end of one that a kill has torn is cut off.
fn appended(path: std::path::PathBuf, entry: u64) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let size = file.metadata()?.len();
    file.set_len(size - size % entry)?;
    Ok(file)
}

/// The deliveries of this worker that it has acknowledged.
fn acknowledged(order: &Order) -> Result<Vec<bool>> {
    let mut acknowledged = vec![false; usize::try_from(order.deliveries)?];
    for ack in std::fs::read(order.acks(order.worker))?.chunks_exact(8) {
        let delivery = usize::try_from(u64::from_le_bytes(ack.try_into()?))?;
        *acknowledged.get_mut(delivery).context("a delivery of this run")? = true;
    }
    Ok(acknowledged)
}

/// Works until SIGTERM.
pub(crate) async fn work(order: &str) -> Result<()> {
    let order: Order = serde_json::from_str(order)?;
    let shutdown = ackonce::shutdown_on_signals()?;
    let acks = appended(order.acks(order.worker), ACK)?;
    let effects = Mutex::new(appended(order.effects(std::process::id()), EFFECT as u64)?);
    let store = SqliteStore::open(order.store())?;
    let (scope, settings) = (
        Scope::new(SCOPE)?,
        Settings::default().with_lease(LEASE).with_concurrency(CONCURRENCY).with_attempts(ATTEMPTS),
    );
    let effects = Arc::new(effects);
    let handler = move |cx: Context, _: ()| {
        let effects = effects.clone();
        async move {
            let entry = entry(&cx)?;
            // One write: a kill leaves all of it or nothing.
            effects.lock().unwrap_or_else(PoisonError::into_inner).write_all(&entry)?;
            Ok::<_, Failure>(())
        }
    };
    let runner = Runner::with(Arc::new(store), &scope, Keyed(handler), settings, Arc::new(RecordOnly))?;
    let (input, jobs) = mpsc::channel(1);
    let delivering = tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            delivered = deliver(&order, &scope, input) => delivered,
        }
    });
    let consuming = runner.consume(jobs, Mode::Batches, move |ended| {
        let receipts = ended.into_iter().flatten();
        let numbers: Vec<u8> = receipts.flat_map(|receipt| receipt.redeem().0.to_le_bytes()).collect();
        if let Err(error) = (&acks).write_all(&numbers) {
            eprintln!("not acknowledged: {error}");
        }
    });
    consuming.await?;
    delivering.await?
}

/// The effect's entry, once per run of the handler.
fn entry(cx: &Context) -> Result<[u8; EFFECT], Failure> {
    let number =
        std::str::from_utf8(cx.key().id()).ok().and_then(|id| id.strip_prefix('m')?.parse::<u64>().ok());
    let number = number.ok_or_else(|| Failure::permanent("no ID of this run"))?;
    if number % 997 == 5 && cx.attempt() == 1 {
        return Err(Failure::from("fails once, as planned"));
    }
    let key = cx.idempotency_key("effect");
    let short = u64::from_str_radix(&key.replace('-', "")[..16], 16)
        .map_err(|e| Failure::permanent(e.to_string()))?;
    let mut entry = [0; EFFECT];
    entry[..8].copy_from_slice(&number.to_le_bytes());
    entry[8..].copy_from_slice(&short.to_le_bytes());
    Ok(entry)
}

/// Every delivery of this worker that is not acknowledged, in order; then it waits for the end.
async fn deliver(order: &Order, scope: &Scope, input: mpsc::Sender<Vec<Ordered<Numbered>>>) -> Result<()> {
    let acknowledged = acknowledged(order)?;
    let chunks = order.deliveries.div_ceil(CHUNK);
    for chunk in (order.worker..chunks).step_by(usize::try_from(order.workers)?) {
        let mut jobs = Vec::new();
        for delivery in chunk * CHUNK..order.deliveries.min((chunk + 1) * CHUNK) {
            if !acknowledged[usize::try_from(delivery)?] {
                let key = scope.key(format!("m{}", message(delivery)))?;
                jobs.push(Ordered { lane: None, job: Job::new(key, Numbered(delivery)) });
            }
        }
        if !jobs.is_empty() && input.send(jobs).await.is_err() {
            return Ok(());
        }
    }
    std::future::pending().await
}
