//! Negative controls: plants a bug in a copy of the tree, runs the check that is expected to find it, and says if it did.

mod check;
mod patch;
mod tree;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;

use check::{Bench, Ended};
use patch::Patch;
use tree::Planted;

/// The planted bugs of prove/planted, one after another.
#[derive(Debug, Args)]
pub(crate) struct PlantArgs {
    /// Only bugs whose name contains this text
    #[arg(long)]
    only: Option<String>,
    /// Print each result as a line of JSON, and no table
    #[arg(long)]
    json: bool,
    /// The longest time of a check, in seconds
    #[arg(long, default_value_t = 300)]
    limit_s: u64,
    /// The copy of the tree, its builds and the output of each check
    #[arg(long, default_value = "target/planted")]
    scratch: PathBuf,
}

/// A bug and its check.
#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    bug: String,
    check: String,
    caught: bool,
    /// The first failure of the check, by name, or the reason that it could not be run.
    by: String,
    /// From the start of the check, which is built before, to its failure.
    seconds: f64,
}

/// True if each bug was caught.
pub(crate) fn run(args: &PlantArgs) -> Result<bool> {
    let root = Path::new(".");
    let scratch = std::path::absolute(&args.scratch)?;
    let bench = Bench {
        tree: scratch.join("tree"),
        target: scratch.join("target"),
        logs: scratch.join("logs"),
        limit: Duration::from_secs(args.limit_s),
    };
    let mut patches =
        patch::read_all(&root.join("prove/planted")).context("run it in the root of the tree")?;
    tree::copy(root, &bench.tree)?;
    std::fs::create_dir_all(&bench.logs)?;
    patches.retain(|patch| args.only.as_ref().is_none_or(|only| patch.name.contains(&**only)));
    ensure!(!patches.is_empty(), "--only: no planted bug has such a name");
    // All of them first: one that does not apply must not come to light after an hour.
    patches.iter().try_for_each(|patch| patch.changed(&bench.tree).map(drop))?;
    for (n, check) in patches.iter().map(|patch| &*patch.check).collect::<BTreeSet<_>>().iter().enumerate() {
        eprintln!("without a bug: {check}");
        if let Ended::Failed(by, _) = bench.run(check, &format!("unpatched-{n}"))? {
            bail!("the check {check:?} fails on the tree as it is (are its servers up?): {by}");
        }
    }
    let mut outcomes = Vec::new();
    for patch in patches {
        eprint!("{}: ", patch.name);
        let outcome = judge(&bench, patch)?;
        eprintln!(
            "{} {:.1} s {}",
            if outcome.caught { "caught" } else { "NOT CAUGHT" },
            outcome.seconds,
            outcome.by
        );
        if args.json {
            println!("{}", serde_json::to_string(&outcome)?);
        }
        outcomes.push(outcome);
    }
    if !args.json {
        println!("{}", table(&outcomes));
    }
    Ok(outcomes.iter().all(|outcome| outcome.caught))
}

fn judge(bench: &Bench, patch: Patch) -> Result<Outcome> {
    let _planted = Planted::plant(&patch, &bench.tree)?;
    let (caught, by, took) = match bench.run(&patch.check, &patch.name) {
        Ok(Ended::Passed) => (false, String::new(), Duration::ZERO),
        Ok(Ended::Failed(by, took)) => (true, by, took),
        // One that does not build, or whose check does not end, keeps none of the others from their turn.
        Err(error) => (false, format!("{error:#}"), Duration::ZERO),
    };
    let Patch { name, bug, check, .. } = patch;
    Ok(Outcome { name, bug, check, caught, by, seconds: took.as_secs_f64() })
}

/// The table of docs/PROOF.md.
fn table(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(["planted bug", "caught by", "after"]);
    for Outcome { name, bug, check, caught, by, seconds } in outcomes {
        let by = match (*caught, check.strip_prefix("prove ")) {
            (false, _) => format!("NOT CAUGHT by `{check}` {by}"),
            (true, Some(settings)) => format!("`{settings}`: {by}"),
            (true, None) => format!("`{by}`"),
        };
        table.add_row([format!("`{name}`: {bug}"), by, format!("{seconds:.1} s")]);
    }
    table
}
