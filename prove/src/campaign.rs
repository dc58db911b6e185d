//! The runs of docs/PROOF.md, and their totals.

use std::io::Write as _;

use anyhow::Result;
use clap::Parser as _;

use crate::args::{CampaignArgs, Program};
use crate::audit::Verdict;
use crate::logs::Run;
use crate::{once, report};

/// Store, broker, class, kills of workers, and the longest time in minutes.
const RUNS: &[(&str, &str, &str, usize, f64)] = &[
    ("sqlite", "feed", "leased", 600, 10.0),
    ("sqlite", "feed", "keyed", 600, 10.0),
    ("sqlite", "feed", "inbox", 600, 10.0),
    ("redis", "feed", "leased", 600, 10.0),
    ("redis", "feed", "keyed", 600, 10.0),
    ("postgres", "feed", "leased", 600, 10.0),
    ("postgres", "feed", "keyed", 600, 10.0),
    ("postgres", "feed", "inbox", 600, 10.0),
    ("sqlite", "feed", "at-most-once", 300, 10.0),
    ("sqlite", "rabbitmq", "leased", 250, 10.0),
    ("postgres", "rabbitmq", "inbox", 250, 10.0),
    ("redis", "rabbitmq", "keyed", 250, 10.0),
    ("sqlite", "kafka", "leased", 125, 10.0),
    ("postgres", "kafka", "inbox", 125, 10.0),
    ("redis", "kafka", "keyed", 125, 10.0),
    ("sqlite", "feed", "record-then-run", 100, 3.0),
    ("sqlite", "feed", "run-then-record", 100, 3.0),
];

/// Makes the runs one after another. False if one broke its promise, or a loop by hand kept what it cannot keep.
pub(crate) async fn run(args: &CampaignArgs) -> Result<bool> {
    let mut all: Vec<(Run, Verdict)> = Vec::new();
    let mut as_expected = true;
    for (n, (store, broker, class, kills, minutes)) in RUNS.iter().enumerate() {
        let line = format!("{store} {broker} {class}");
        if args.only.as_ref().is_some_and(|only| !line.contains(&**only)) {
            continue;
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a number of kills"
        )]
        let kills = ((*kills as f64) * args.scale).ceil() as usize;
        let (kills, minutes, seed) =
            (kills.to_string(), minutes.to_string(), (args.seed + n as u64).to_string());
        let words = [
            "prove",
            "--store",
            store,
            "--broker",
            broker,
            "--class",
            class,
            "--kills",
            &kills,
            "--minutes",
            &minutes,
            "--seed",
            &seed,
        ];
        let Program { run, .. } = Program::try_parse_from(words)?;
        let (run, verdict) = once(&run).await?;
        as_expected &= verdict.broken.is_empty() == run.mode.class().is_some();
        if let Some(path) = &args.out {
            let line = serde_json::to_string(&serde_json::json!({ "run": run, "verdict": verdict }))?;
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
            writeln!(file, "{line}")?;
        }
        all.push((run, verdict));
    }
    println!("{}\n{}", report::table(&all), report::totals(&all));
    Ok(as_expected)
}
