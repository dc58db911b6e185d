//! The chaos of a run: publish, strike, heal, and wait until everything is settled.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ackonce::CancellationToken;
use ackonce_testkit::crash::{Fleet, History, Progress};
use ackonce_tests::acceptance::id_of_delivery;
use anyhow::{Context as _, Result};
use tokio::time::Instant;

use crate::args::RunArgs;
use crate::broker::{Commit, Published, Source, Watch};
use crate::logs::micros_now;
use crate::nemesis::{Fault, Nemesis};
use crate::progress::{Bar, Stall};

/// Deliveries that are published at once.
const SLICE: usize = 50;
/// The time between two looks at the source.
const LOOK: Duration = Duration::from_millis(20);

/// The parts of a run that go on side by side.
pub(crate) struct Chaos<'a> {
    pub(crate) args: &'a RunArgs,
    pub(crate) watch: Watch,
    /// Cancelled at the end of the faults.
    pub(crate) over: CancellationToken,
    pub(crate) published: AtomicUsize,
}

/// The things that happened in a run.
pub(crate) struct Happened {
    pub(crate) published: Vec<Published>,
    pub(crate) commits: Vec<Commit>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) history: History,
    pub(crate) over_at: u64,
    pub(crate) through_at: Option<u64>,
    pub(crate) left: usize,
}

impl Chaos<'_> {
    pub(crate) async fn unfold(
        &self,
        fleet: Fleet,
        source: Source,
        nemesis: &mut Nemesis,
    ) -> Result<Happened> {
        let (done, ended) = (AtomicBool::new(false), CancellationToken::new());
        let publishing = self.publish(source, &done);
        let raging = nemesis.rage(|| self.over.is_cancelled());
        let healed = AtomicBool::new(false);
        let raging = async {
            let faults = raging.await;
            healed.store(true, Ordering::SeqCst);
            faults
        };
        let deadline = Instant::now() + Duration::from_secs_f64(self.args.minutes * 60.0);
        let bar = Bar::new(self.args);
        let (over_at, through_at) = (AtomicU64::new(0), AtomicU64::new(0));
        let stall = Mutex::new(Stall::new(Duration::from_secs(self.args.bound_s)));
        let running = async {
            let fleet = fleet.with_healing(self.over.clone());
            let ran = fleet.run(async |progress: Progress| {
                let struck = progress.kills + progress.crashes;
                if !self.over.is_cancelled()
                    && (Instant::now() >= deadline || self.args.kills.is_some_and(|most| struck >= most))
                {
                    over_at.store(micros_now(), Ordering::SeqCst);
                    self.over.cancel();
                }
                let published = self.published.load(Ordering::SeqCst);
                bar.show(&progress, published);
                if !self.over.is_cancelled() {
                    return false;
                }
                let quiet = done.load(Ordering::SeqCst) && healed.load(Ordering::SeqCst);
                let left = self.watch.left(published).await;
                if quiet && left == Some(0) {
                    through_at.store(micros_now(), Ordering::SeqCst);
                    return true;
                }
                stall.lock().unwrap_or_else(PoisonError::into_inner).is_over(left)
            });
            let ran = ran.await;
            self.over.cancel();
            ended.cancel();
            ran
        };
        let watching = self.commits(&ended);
        let (ran, published, faults, commits) = tokio::join!(running, publishing, raging, watching);
        let (published, faults) =
            (published.context("publishing")?, faults.context("a fault could not be made")?);
        let (over_at, through_at) =
            (over_at.into_inner(), Some(through_at.into_inner()).filter(|at| *at > 0));
        let left = self.watch.left(published.len()).await.unwrap_or(published.len());
        Ok(Happened { published, commits, faults, history: ran?, over_at, through_at, left })
    }

    /// Keeps a backlog until the chaos is over.
    async fn publish(&self, mut source: Source, done: &AtomicBool) -> Result<Vec<Published>> {
        let mut all = Vec::new();
        let mut n = 0;
        let published = async {
            while !self.over.is_cancelled() {
                if self.watch.left(all.len()).await.is_none_or(|left| left >= self.args.backlog) {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                let ids = (n..n + SLICE).map(id_of_delivery).collect();
                n += SLICE;
                all.extend(source.publish(ids).await?);
                self.published.store(all.len(), Ordering::SeqCst);
            }
            anyhow::Ok(())
        };
        let published = published.await;
        done.store(true, Ordering::SeqCst);
        published.map(|()| all)
    }

    /// The group's commits, as they move.
    async fn commits(&self, ended: &CancellationToken) -> Vec<Commit> {
        let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
        while !ended.is_cancelled() {
            let commits = self.watch.commits().await;
            all.extend(commits.into_iter().filter(|commit| seen.insert((commit.partition, commit.offset))));
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        all
    }
}
