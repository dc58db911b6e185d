//! The process that fills the store, and its progress.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ackonce::store::{ClaimRequest, Claimed, Settle, Settled, Settlement, Token};
use ackonce::{Deduplicator as _, Scope};
use ackonce_sqlite::SqliteStore;
use ackonce_testkit::lines;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::SCOPE;

/// IDs of a batch: a trip for the claims, a trip for the settlements.
const BATCH: u64 = 4000;
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// A batch that a kill has left claimed is free again after so long.
const LEASE: Duration = Duration::from_secs(10);

/// The order to a process: `0..ids` into the file of that folder, from the first one that is not settled.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) dir: PathBuf,
    pub(super) ids: u64,
}

/// A line of the progress, written before a batch is claimed and after it is settled.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Started,
    Begun { to: u64 },
    Done { to: u64, micros: u64, taken_for_known: u64 },
}

/// The claim of the n-th ID.
pub(super) fn claim(n: u64) -> Result<ClaimRequest> {
    let key = Scope::new(SCOPE)?.key(format!("m{n}"))?;
    Ok(ClaimRequest { key, token: Token::random(), lease: LEASE, window: WEEK, fingerprint: None })
}

/// The progress of all processes so far.
#[derive(Debug, Default)]
pub(super) struct Filled {
    /// No ID from here on was ever claimed.
    begun: u64,
    /// Each ID below is settled.
    pub(super) done: u64,
    pub(super) taken_for_known: u64,
    /// The end of each batch, its time, and if it was the first one of its process.
    batches: Vec<(u64, u64, bool)>,
}

impl Filled {
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let (mut filled, mut first) = (Self::default(), false);
        for line in lines::read(progress(dir))? {
            match serde_json::from_str(&line)? {
                Line::Started => first = true,
                Line::Begun { to } => filled.begun = filled.begun.max(to),
                Line::Done { to, micros, taken_for_known } => {
                    filled.done = to;
                    filled.taken_for_known += taken_for_known;
                    filled.batches.push((to, micros, first));
                    first = false;
                }
            }
        }
        Ok(filled)
    }

    /// Messages a second over the last tenth up to 1, 10 and 100 million IDs, and up to the end.
    #[allow(clippy::cast_precision_loss, reason = "a rate is no count")]
    pub(super) fn rates(&self) -> Vec<(u64, f64)> {
        let mut sizes = vec![1_000_000, 10_000_000, 100_000_000, self.done];
        sizes.retain(|size| *size <= self.done);
        sizes.dedup();
        let rate = |size: u64| {
            let band = |(to, _, first): &&(u64, u64, bool)| *to <= size && *to > size - size / 10 && !first;
            let times: Vec<u64> = self.batches.iter().filter(band).map(|(_, micros, _)| *micros).collect();
            let seconds = times.iter().sum::<u64>() as f64 / 1e6;
            (size, (times.len() as u64 * BATCH) as f64 / seconds.max(1e-6))
        };
        sizes.into_iter().map(rate).collect()
    }

    pub(super) fn reopened_ms(&self) -> u64 {
        let firsts = self.batches.iter().skip(1).filter(|(.., first)| *first);
        firsts.map(|(_, micros, _)| micros / 1000).max().unwrap_or(0)
    }
}

fn progress(dir: &Path) -> PathBuf {
    dir.join("progress.jsonl")
}

/// Fills, from the first ID that is not settled.
pub(crate) async fn fill(order: &str) -> Result<()> {
    let Order { dir, ids } = serde_json::from_str(order)?;
    let said = lines::Writer::open(progress(&dir))?;
    let say = |line: Line| anyhow::Ok(said.append(serde_json::to_vec(&line)?)?);
    let Filled { begun, done, .. } = Filled::read(&dir)?;
    say(Line::Started)?;
    let mut began = Instant::now();
    let store = SqliteStore::open(dir.join("dedup.db"))?;
    let mut from = done;
    while from < ids {
        let to = ids.min(from + BATCH);
        say(Line::Begun { to })?;
        let taken_for_known = batch(&store, from..to, begun).await?;
        let micros = u64::try_from(began.elapsed().as_micros())?;
        began = Instant::now();
        say(Line::Done { to, micros, taken_for_known })?;
        from = to;
    }
    Ok(())
}

/// Claims and settles these IDs. Those below `begun` may be settled, or claimed by a process that was killed. The number of
/// the others that were not granted.
async fn batch(store: &SqliteStore, ids: std::ops::Range<u64>, begun: u64) -> Result<u64> {
    let (mut left, mut taken_for_known): (Vec<u64>, u64) = (ids.collect(), 0);
    while !left.is_empty() {
        let claims = left.iter().map(|n| claim(*n)).collect::<Result<Vec<_>>>()?;
        let (mut settlements, mut busy, mut free_in) = (Vec::new(), Vec::new(), Duration::ZERO);
        for (n, answer) in left.iter().zip(store.claim(&claims).await?) {
            match answer {
                Claimed::Acquired(lease) => settlements
                    .push(Settlement::new(&lease, Settle::Complete { window: WEEK, outcome: None })),
                Claimed::Busy { free_in: wait } if *n < begun => {
                    busy.push(*n);
                    free_in = free_in.max(wait);
                }
                Claimed::Done(_) if *n < begun => {}
                _ => taken_for_known += 1,
            }
        }
        let settled = store.settle(&settlements).await?;
        ensure!(settled.iter().all(|settled| *settled == Settled::Yes), "a settlement was lost");
        left = busy;
        if !left.is_empty() {
            tokio::time::sleep(free_in).await;
        }
    }
    Ok(taken_for_known)
}
