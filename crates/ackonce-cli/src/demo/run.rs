//! The demo from beginning to end.

use std::thread;

use ackonce::CancellationToken;
use anyhow::{Context as _, Result, anyhow};
use tokio::runtime::Runtime;

use super::args::DemoArgs;
use super::arm::{Arm, ArmFiles};
use super::broker::{self, Broker};
use super::contest::{Contest, Ended, Interrupted};
use super::plan::{Plan, Strike, strikes};
use super::progress::Screen;
use super::report::{Line, Report};
use super::samples;
use super::setting::Setting;
use super::worker::WorkerOrder;
use crate::streams;

/// Attempts before a message is buried, beside those that strikes may cost it.
const ATTEMPTS: u32 = 20;

/// The verdict on the class's promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It did.
    Kept,
    /// Something was lost or doubled beyond the promise.
    Broken,
}

/// Runs the demo and prints its report.
///
/// # Errors
/// [`UsageError`](super::UsageError) for flags that do not go together; otherwise the error that prevented a verdict.
pub fn run(args: &DemoArgs) -> Result<Verdict> {
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    broker::check(args)?;
    let setting = Setting::new(args)?;
    let outcome = with_broker(args, seed, &setting);
    let kept = matches!(&outcome, Ok(report) if report.kept());
    if !kept {
        let kept = setting.keep();
        streams::note(format_args!("ledgers and the workers' logs are kept in {}", kept.display()));
    }
    let report = outcome?;
    if args.json {
        streams::print(&(serde_json::to_string_pretty(&report)? + "\n"))?;
    } else {
        streams::print(&format!("\n{}\n{}\n", report.table(), report.verdict()))?;
    }
    Ok(if kept { Verdict::Kept } else { Verdict::Broken })
}

fn with_broker(args: &DemoArgs, seed: u64, setting: &Setting) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let interrupted = interrupt(&runtime)?;
    let broker = Broker::start(args, runtime.handle())?;
    let topic = format!("ackonce-demo-{:08x}", rand::random::<u32>());
    let groups = Arm::ALL.map(|arm| group(&topic, arm));
    let groups = groups.each_ref().map(String::as_str);
    let show = Show { args, seed, setting, broker: &broker, topic: &topic, groups: &groups, interrupted };
    if !args.json {
        show.introduce()?;
    }
    broker.create(&topic, &groups)?;
    let outcome = show.run();
    let cleaned = broker.clean_up(&topic, &groups);
    let report = outcome?;
    cleaned?;
    Ok(report)
}

fn interrupt(runtime: &Runtime) -> Result<CancellationToken> {
    runtime.block_on(async { ackonce::shutdown_on_signals() }).context("listening for signals")
}

fn group(topic: &str, arm: Arm) -> String {
    format!("{topic}-{}", arm.name())
}

/// One run with all it needs.
struct Show<'s> {
    args: &'s DemoArgs,
    seed: u64,
    setting: &'s Setting,
    broker: &'s Broker,
    topic: &'s str,
    groups: &'s [&'s str],
    interrupted: CancellationToken,
}

impl Show<'_> {
    fn introduce(&self) -> Result<()> {
        let DemoArgs { messages, duplicates, workers, kills, pauses, lease_ms, .. } = self.args;
        let said = format!(
            "{}, topic {}\n{}\n{messages} deliveries, {duplicates} % of them repeats; three groups of {workers} workers, each with \
             {kills} kill -9 and {pauses} pauses of {} ms, claims under a lease of {lease_ms} ms; --seed {}\n",
            self.broker.describe(),
            self.topic,
            self.setting.guarantee,
            self.broker.pause(self.args.lease()).as_millis(),
            self.seed
        );
        Ok(streams::print(&said)?)
    }

    fn run(&self) -> Result<Report> {
        let plan = Plan::new(self.args, self.seed, &samples::all()?);
        let strikes = strikes(self.args, self.seed, plan.messages.len());
        let screen = Screen::new(self.args.json);
        let bar = screen.bar("publishing", plan.deliveries.len() as u64);
        self.broker.publish(self.topic, self.groups, &plan, |n| bar.at(n))?;
        bar.done();
        let mut contests = Vec::new();
        for arm in Arm::ALL {
            contests.push(self.contest(arm, &strikes, plan.deliveries.len(), &screen)?);
        }
        let [ackonce, record_then_run, run_then_record] = hold(&contests)?;
        let line = |contest: &Contest<'_>, ended: &Ended| -> Result<Line> {
            let (arm, files) = (contest.order.arm, &contest.order.files);
            let class = (arm == Arm::Ackonce).then(|| self.args.class.class());
            let effects = self.setting.effects(arm, files)?;
            files.write_history(&ended.history)?;
            Ok(Line::new(&plan, files, effects, class, &ended.history, ended.took))
        };
        Ok(Report {
            class: self.args.class,
            seed: self.seed,
            ackonce: line(&contests[0], &ackonce)?,
            record_then_run: line(&contests[1], &record_then_run)?,
            run_then_record: line(&contests[2], &run_then_record)?,
        })
    }

    fn contest<'c>(
        &self,
        arm: Arm,
        strikes: &'c [Strike],
        deliveries: usize,
        screen: &Screen,
    ) -> Result<Contest<'c>> {
        let DemoArgs { workers, class, lease_ms, kills, pauses, .. } = *self.args;
        let group = group(self.topic, arm);
        let order = WorkerOrder {
            arm,
            source: self.broker.source(self.topic, &group),
            group: group.clone(),
            class,
            store: self.setting.store.clone(),
            lease_ms,
            // Nobody dies of a message here but by our hand, which may meet one message every time.
            attempts: kills.saturating_add(pauses).saturating_add(ATTEMPTS),
            files: ArmFiles::create(self.setting.path(), arm)?,
        };
        Ok(Contest {
            order,
            workers,
            strikes,
            pause: self.broker.pause(self.args.lease()),
            quiet: self.broker.quiet(self.args.lease()),
            watcher: self.broker.follow(self.topic, &group, deliveries)?,
            bar: screen.bar(arm.name(), deliveries as u64),
            interrupted: self.interrupted.clone(),
        })
    }
}

/// All at once: most of the time is spent waiting for the broker to notice who is dead.
fn hold(contests: &[Contest<'_>]) -> Result<[Ended; 3]> {
    let mut ended: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = contests.iter().map(|contest| scope.spawn(|| contest.run())).collect();
        let panicked = |_| Err(anyhow!("a thread of the demo panicked"));
        running.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    // One that failed has interrupted the others: its error is the one to tell.
    let cause = ended.iter().position(|e| matches!(e, Err(error) if !error.is::<Interrupted>()));
    if let Some(cause) = cause {
        ended.swap(0, cause);
    }
    let ended = ended.into_iter().collect::<Result<Vec<_>>>()?;
    <[Ended; 3]>::try_from(ended).map_err(|_| anyhow!("three arms were started"))
}
