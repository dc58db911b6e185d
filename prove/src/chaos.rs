//! The chaos of a run: publish, strike, heal, and wait until everything is settled.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ackonce::CancellationToken;
use ackonce_testkit::crash::{Fleet, History, Progress};
use anyhow::{Context as _, Result};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::args::RunArgs;
use crate::broker::{Commit, Published, Source, Watch};
use crate::logs::micros_now;
use crate::nemesis::{Fault, Nemesis, Order};
use crate::producer::Producer;
use crate::progress::{Bar, Stall};

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
    pub(crate) unreadable: (usize, usize),
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
        orders: mpsc::Receiver<Order>,
        nemesis: &mut Nemesis,
    ) -> Result<Happened> {
        let (done, ended) = (AtomicBool::new(false), CancellationToken::new());
        let publishing = Producer::new(source).publish(self, orders, &done);
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
        let (producer, faults) =
            (published.context("publishing")?, faults.context("a fault could not be made")?);
        let Producer { all: published, unreadable, recreated, .. } = producer;
        let commits = commits.into_iter().filter(|commit| commit.at > recreated).collect();
        let (over_at, through_at) =
            (over_at.into_inner(), Some(through_at.into_inner()).filter(|at| *at > 0));
        let left = self.watch.left(published.len()).await.unwrap_or(published.len());
        Ok(Happened { published, unreadable, commits, faults, history: ran?, over_at, through_at, left })
    }

    /// The group's commits, as they move. In a topic that was created again, they may come back to an offset.
    async fn commits(&self, ended: &CancellationToken) -> Vec<Commit> {
        let (mut all, mut last) = (Vec::new(), BTreeMap::new());
        while !ended.is_cancelled() {
            for commit in self.watch.commits().await {
                let now = (commit.offset, commit.topic.clone());
                if last.insert(commit.partition, now.clone()) != Some(now) {
                    all.push(commit);
                }
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        all
    }
}
