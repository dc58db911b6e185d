//! One run: prepare, cause chaos, read the outcome, and write the logs.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use ackonce::CancellationToken;
use ackonce_testkit::crash::{Faults, Fleet};
use ackonce_testkit::ledger::Ledger;
use ackonce_testkit::seed::Dice;
use ackonce_tests::said::not_recorded;
use anyhow::Result;
use tokio::sync::mpsc;

use crate::args::RunArgs;
use crate::broker::{BrokerKind, Source};
use crate::chaos::Chaos;
use crate::goals::word;
use crate::logs::{HANDLERS, Logs, Run, micros_now, read_lines, versions};
use crate::nemesis::{BrokerFaults, FaultKind, Nemesis, WorkerClock};
use crate::plan::{Mode, Plan};
use crate::store;

/// A worker's shutdown takes at most 25 s; the rest is for a machine that is busy.
const GRACE: Duration = Duration::from_secs(60);

/// The points at which workers kill themselves; a broker's own deliveries and acks have none.
const POINTS: [&str; 4] = ["before-claim", "before-effect", "after-effect", "before-ack"];
const OF_THE_FEED: [&str; 2] = ["before-claim", "before-ack"];

/// Runs, and leaves the logs in `dir`.
pub(crate) async fn run(args: &RunArgs, seed: u64, dir: &Path) -> Result<Logs> {
    let kinds = args.fit_kinds()?;
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
        group: args.group,
        lease_ms: args.lease_ms,
        faults: kinds.clone(),
        clock: kinds.contains(&FaultKind::Clock).then(|| WorkerClock::create(dir)).transpose()?,
        workers: args.workers,
        worker: 0,
    };
    let source = Source::create(args.broker, &plan.feed(), kinds.contains(&FaultKind::Lag)).await?;
    plan.place = source.place();
    if matches!(args.mode, Mode::RecordThenRun | Mode::RunThenRecord) {
        create_seen(&plan)?;
    }
    let guest = plan.clone();
    let (producer, orders) = mpsc::channel(1);
    let broker =
        BrokerFaults { kind: args.broker, guest: Box::new(move || worker(&guest, guest.workers)), producer };
    let mut nemesis = Nemesis {
        dice: Dice::new(seed ^ 0x5eed),
        kinds: kinds.clone(),
        every: RunArgs::about(args.fault_every_ms),
        store,
        broker,
        clocks: None,
    };
    nemesis.set_up(plan.clock.as_ref()).await?;
    let chaos = Chaos {
        args,
        watch: source.watch(&plan),
        over: CancellationToken::new(),
        published: AtomicUsize::new(0),
    };
    let began = micros_now();
    let happened = chaos.unfold(fleet(args, &plan, &kinds, seed), source, orders, &mut nemesis).await;
    nemesis.heal().await?;
    let mut happened = happened?;
    happened.faults.extend(read_lines(dir.join(HANDLERS))?);
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
    let mut late: Vec<_> = not_recorded(dir)?.into_iter().collect();
    late.extend(Ledger::read(plan.cancelled())?.entries.into_iter().map(|effect| (effect.id, effect.fence)));
    let run = Run {
        store: format!("{:?}", args.store_kind()).to_lowercase(),
        broker: args.broker,
        mode: args.mode,
        rival: args.rival.as_ref().map(|rival| rival.name.clone()),
        group: (args.broker == BrokerKind::Kafka).then_some(args.group),
        seed,
        points: points(args, &kinds),
        unreadable: happened.unreadable,
        faults: kinds,
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
        rebalances: rebalances(dir, args)?,
        versions: versions(&[&format!("{:?}", args.store_kind()).to_lowercase(), &word(args.broker)]),
        set_aside: None,
        not_recorded: late,
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
    if let Some(clock) = &plan.clock {
        clock.rule(&mut command);
    }
    command
}

/// The points at which the workers of a run may kill themselves.
fn points(args: &RunArgs, kinds: &[FaultKind]) -> Vec<String> {
    if !kinds.contains(&FaultKind::Crash) {
        return Vec::new();
    }
    let all = POINTS.iter().filter(|point| args.broker == BrokerKind::Feed || !OF_THE_FEED.contains(point));
    all.map(|point| (*point).to_owned()).collect()
}

fn fleet(args: &RunArgs, plan: &Plan, kinds: &[FaultKind], seed: u64) -> Fleet {
    let has = |kind| kinds.contains(&kind);
    let lease = Duration::from_millis(args.lease_ms);
    let faults = Faults {
        kill_every: has(FaultKind::Kill).then(|| args.kill_every()),
        pause_every: has(FaultKind::Pause).then(|| RunArgs::about(args.pause_every_ms)),
        pause_for: lease + lease / 3..=lease * 2,
        crash_points: points(args, kinds),
        nth: 1..=40,
        restart_after: Duration::ZERO..=Duration::from_millis(50),
        ..Faults::default()
    };
    let plan = plan.clone();
    Fleet::new(plan.dir.join("workers"), args.workers, move |number| worker(&plan, number))
        .with_seed(seed)
        .with_faults(faults)
        .with_grace(GRACE)
        // The run itself ends when nothing moves any more.
        .with_bound(Duration::MAX)
}

/// The most assignments that one worker has logged.
fn rebalances(dir: &Path, args: &RunArgs) -> Result<usize> {
    let count = |worker: usize| {
        let text = std::fs::read_to_string(dir.join(format!("workers/worker-{worker}.log")))?;
        anyhow::Ok(text.lines().filter(|line| line.contains(" assigned ")).count())
    };
    let counts: Vec<_> = (0..args.workers).map(count).collect::<Result<_>>()?;
    Ok(if args.broker == BrokerKind::Kafka { counts.into_iter().max().unwrap_or(0) } else { 0 })
}
