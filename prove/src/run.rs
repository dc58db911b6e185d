//! One run: publish, cause chaos, heal, wait until everything is settled, and write the logs.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ackonce::CancellationToken;
use ackonce_testkit::crash::{Faults, Fleet, History, Progress};
use ackonce_testkit::ledger::Ledger;
use ackonce_testkit::seed::Dice;
use ackonce_tests::acceptance::id_of_delivery;
use ackonce_tests::said::not_recorded;
use anyhow::{Context as _, Result};
use tokio::time::Instant;

use crate::args::RunArgs;
use crate::broker::{BrokerKind, Commit, Published, Source, Watch};
use crate::logs::{Logs, Run, micros_now};
use crate::nemesis::{BrokerFaults, Fault, FaultKind, Nemesis};
use crate::plan::{Mode, Plan};
use crate::progress::Bar;
use crate::store;

/// Deliveries that are published at once.
const SLICE: usize = 50;
/// The time between two looks at the source.
const LOOK: Duration = Duration::from_millis(20);
/// Between two faults of servers: long enough for the workers to notice the end of the one before.
const FAULT_EVERY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(4);

/// The points at which workers kill themselves; a broker's own acks have none.
const POINTS: [&str; 3] = ["before-effect", "after-effect", "before-ack"];

/// Runs, and leaves the logs in `dir`.
pub(crate) async fn run(args: &RunArgs, seed: u64, dir: &Path) -> Result<Logs> {
    let kinds = args.kinds();
    let unfit = kinds.iter().find(|kind| !kind.suits(args.store_kind(), args.broker));
    if let Some(kind) = unfit {
        anyhow::bail!("--faults {}: this store and this broker cannot meet it", kind.name());
    }
    let network = [FaultKind::StoreReply, FaultKind::StoreSilence, FaultKind::StoreLate];
    let through_proxy = kinds.iter().any(|kind| network.contains(kind));
    let name = format!("prove_{}_{seed}", std::process::id());
    let (prepared, store) = store::prepare(args, dir, &name, through_proxy).await?;
    let mut plan = Plan {
        dir: dir.to_owned(),
        place: crate::plan::Place::Feed,
        store: prepared.url.clone(),
        schema: prepared.schema.clone(),
        mode: args.mode,
        rival: args.rival.clone(),
        driver: args.driver,
        lease_ms: args.lease_ms,
        workers: args.workers,
        worker: 0,
    };
    let source = Source::create(args.broker, &plan.feed()).await?;
    plan.place = source.place();
    if matches!(args.mode, Mode::RecordThenRun | Mode::RunThenRecord) {
        create_seen(&plan)?;
    }
    let guest = plan.clone();
    let broker = BrokerFaults { kind: args.broker, guest: Box::new(move || worker(&guest, guest.workers)) };
    let of_servers = kinds
        .iter()
        .copied()
        .filter(|kind| !matches!(kind, FaultKind::Kill | FaultKind::Crash | FaultKind::Pause));
    let mut nemesis = Nemesis {
        dice: Dice::new(seed ^ 0x5eed),
        kinds: of_servers.collect(),
        every: FAULT_EVERY,
        store,
        broker,
    };
    let chaos = Chaos {
        args,
        watch: source.watch(&plan),
        over: CancellationToken::new(),
        published: AtomicUsize::new(0),
    };
    let began = micros_now();
    let happened = chaos.unfold(fleet(args, &plan, &kinds, seed), source, &mut nemesis).await?;
    let mut records = [0; 4];
    if args.mode.class().is_some() && args.rival.is_none() {
        // Claims of the last ones killed lapse with their leases.
        tokio::time::sleep(Duration::from_millis(args.lease_ms)).await;
        records = prepared.records().await?;
    }
    let mut balance = None;
    if let Some((effects, sum)) = prepared.books().await {
        Logs::write_effects(dir, &effects)?;
        balance = Some(sum);
    }
    let last = |to: &mut dyn Iterator<Item = u64>| to.max().unwrap_or(began);
    let healed = happened.over_at.max(last(&mut happened.faults.iter().map(|fault| fault.to)));
    let contents = Ledger::read(plan.effects())?;
    let run = Run {
        store: format!("{:?}", args.store_kind()).to_lowercase(),
        broker: args.broker,
        mode: args.mode,
        rival: args.rival.as_ref().map(|rival| rival.name.clone()),
        seed,
        faults: kinds.iter().map(|kind| kind.name()).collect(),
        workers: args.workers,
        lease_ms: args.lease_ms,
        bound_s: args.bound_s,
        began,
        healed,
        through: happened.through_at,
        left: happened.left,
        records,
        balance,
        torn: contents.torn,
        not_recorded: not_recorded(dir)?.into_iter().collect(),
    };
    let logs = Logs {
        run,
        published: happened.published,
        effects: contents.entries,
        starts: Ledger::read(plan.starts())?.entries,
        commits: happened.commits,
        faults: happened.faults,
        history: happened.history,
    };
    logs.write(dir)?;
    Ok(logs)
}

/// The table of the loops by hand, before its workers start.
fn create_seen(plan: &Plan) -> Result<()> {
    let db = ackonce_sqlite::rusqlite::Connection::open(plan.seen())?;
    Ok(db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE seen (id TEXT PRIMARY KEY)")?)
}

fn worker(plan: &Plan, worker: usize) -> Command {
    if let Some(rival) = &plan.rival {
        return rival.worker(plan);
    }
    // The running program, even if its file was replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    if let Ok(exe) = std::env::current_exe().and_then(std::fs::canonicalize) {
        command = Command::new(exe);
    }
    let plan = Plan { worker, ..plan.clone() };
    command.arg("worker").arg(serde_json::to_string(&plan).unwrap_or_default());
    command.env("RUST_LIB_BACKTRACE", "0");
    command
}

fn fleet(args: &RunArgs, plan: &Plan, kinds: &[FaultKind], seed: u64) -> Fleet {
    let has = |kind| kinds.contains(&kind);
    let lease = Duration::from_millis(args.lease_ms);
    let pause_every = Duration::from_secs(3)..=Duration::from_secs(8);
    let points = POINTS.iter().filter(|point| **point != "before-ack" || args.broker == BrokerKind::Feed);
    let points: Vec<_> = points.map(|point| (*point).to_owned()).collect();
    let faults = Faults {
        kill_every: has(FaultKind::Kill).then(|| args.kill_every()),
        pause_every: has(FaultKind::Pause).then_some(pause_every),
        pause_for: lease + lease / 3..=lease * 2,
        crash_points: if has(FaultKind::Crash) { points } else { Vec::new() },
        nth: 1..=40,
        restart_after: Duration::ZERO..=Duration::from_millis(50),
        ..Faults::default()
    };
    let plan = plan.clone();
    Fleet::new(plan.dir.join("workers"), args.workers, move |number| worker(&plan, number))
        .with_seed(seed)
        .with_faults(faults)
        .with_bound(
            Duration::from_secs_f64(args.minutes * 60.0) + Duration::from_secs(args.bound_s) + lease * 4,
        )
}

/// The parts of a run that go on side by side.
struct Chaos<'a> {
    args: &'a RunArgs,
    watch: Watch,
    /// Cancelled at the end of the faults.
    over: CancellationToken,
    published: AtomicUsize,
}

/// The things that happened in a run.
struct Happened {
    published: Vec<Published>,
    commits: Vec<Commit>,
    faults: Vec<Fault>,
    history: History,
    over_at: u64,
    through_at: Option<u64>,
    left: usize,
}

impl Chaos<'_> {
    async fn unfold(&self, fleet: Fleet, source: Source, nemesis: &mut Nemesis) -> Result<Happened> {
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
                let quiet = done.load(Ordering::SeqCst) && healed.load(Ordering::SeqCst);
                let through = quiet && self.watch.left(published).await == Some(0);
                if through {
                    through_at.store(micros_now(), Ordering::SeqCst);
                }
                through
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
        let history = match ran {
            Ok(history) => history,
            Err(error) if through_at.is_none() && error.to_string().contains("did not hold") => {
                eprintln!("{error}");
                error.history
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Happened { published, commits, faults, history, over_at, through_at, left })
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
