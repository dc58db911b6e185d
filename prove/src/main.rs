#![doc = include_str!("../README.md")]

mod args;
mod audit;
mod broker;
mod campaign;
mod chaos;
mod figures;
mod goals;
mod jumps;
mod logs;
mod messages;
mod nemesis;
mod plan;
mod plant;
mod producer;
mod progress;
mod report;
mod results;
mod rival;
mod run;
mod store;
mod worker;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Program, RunArgs, Verb};
use crate::audit::Verdict;
use crate::logs::{Logs, Run};

#[tokio::main]
async fn main() -> ExitCode {
    let filter =
        std::env::var("RUST_LOG").unwrap_or_else(|_| "warn,ackonce=info,librdkafka=off,rdkafka=off".into());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    let Program { verb, run } = Program::parse();
    if verb.is_none()
        && run.fills_a_disk()
        && let Err(error) = nemesis::with_own_mounts()
    {
        eprintln!("error: {error:#}");
        return ExitCode::from(3);
    }
    let kept = match verb {
        None => once(&run).await.map(|(_, verdict)| verdict.broken.is_empty()),
        Some(Verb::Audit { dir }) => again(&dir),
        Some(Verb::Campaign(args)) => campaign::run(&args).await,
        Some(Verb::Figures) => figures::write().map(|()| true),
        Some(Verb::Plant(args)) => plant::run(&args),
        Some(Verb::Worker { plan }) => work(&plan).await.map(|()| true),
    };
    match kept {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

async fn work(plan: &str) -> anyhow::Result<()> {
    Box::pin(worker::work(&serde_json::from_str(plan)?)).await
}

/// One run, its audit and its table.
pub(crate) async fn once(args: &RunArgs) -> anyhow::Result<(Run, Verdict)> {
    let temporary = tempfile::tempdir()?;
    let dir = args.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    let seed = args.seed.unwrap_or_else(|| logs::micros_now() % 1_000_000);
    let logs = Box::pin(run::run(args, seed, &dir)).await?;
    let verdict = audit::judge(&logs);
    show(&logs.run, &verdict, args.json)?;
    if !verdict.broken.is_empty() && args.keep.is_none() {
        eprintln!("the logs are in {}", temporary.keep().display());
    }
    Ok((logs.run, verdict))
}

fn again(dir: &std::path::Path) -> anyhow::Result<bool> {
    let logs = Logs::read(dir)?;
    let verdict = audit::judge(&logs);
    show(&logs.run, &verdict, true)?;
    Ok(verdict.broken.is_empty())
}

fn show(run: &Run, verdict: &Verdict, json: bool) -> anyhow::Result<()> {
    match json {
        true => {
            println!("{}", serde_json::to_string(&serde_json::json!({ "run": run, "verdict": verdict }))?)
        }
        false => {
            println!("{}", report::table(&[(run.clone(), verdict.clone())]));
            print!("{}", report::details(verdict));
        }
    }
    Ok(())
}
