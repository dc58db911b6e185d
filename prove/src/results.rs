//! The results of all runs, a line of JSON each. docs/PROOF.md is made from them.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ackonce_testkit::lines;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::audit::Verdict;
use crate::logs::Run;

/// The results that are published.
pub(crate) const PUBLISHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/proof/runs.jsonl");

/// A line of the results.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    /// A run of this program.
    Run { run: Box<Run>, verdict: Box<Verdict> },
    /// `prove-scale remember`.
    Remembered { remembered: Remembered },
    /// `prove-scale deliver`.
    Delivered { delivered: Delivered },
    /// The test power_cut of the package ackonce-tests.
    PowerCuts { power_cuts: PowerCuts },
}

/// IDs in one store, as prove-scale prints them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) store: String,
    pub(crate) ids: u64,
    pub(crate) kills: u64,
    pub(crate) seed: u64,
    pub(crate) asked: u64,
    pub(crate) forgotten: u64,
    pub(crate) taken_for_known: u64,
    pub(crate) bytes_per_id: f64,
    pub(crate) rates: Vec<(u64, f64)>,
    pub(crate) reopened_ms: u64,
    pub(crate) versions: Vec<String>,
}

/// Deliveries by the million, as prove-scale prints them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Delivered {
    pub(crate) store: String,
    pub(crate) class: String,
    pub(crate) seed: u64,
    pub(crate) deliveries: u64,
    pub(crate) messages: u64,
    pub(crate) effects: u64,
    pub(crate) kills: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) doubled_explained: u64,
    pub(crate) doubled_by_key: u64,
    pub(crate) stuck: u64,
    pub(crate) seconds: u64,
    pub(crate) versions: Vec<String>,
}

/// Images of a disk whose power was cut.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PowerCuts {
    pub(crate) setup: String,
    pub(crate) images: u64,
    pub(crate) acked: u64,
    pub(crate) lost: u64,
    pub(crate) versions: Vec<String>,
}

impl PowerCuts {
    /// True for the set-up that must lose.
    pub(crate) fn is_control(&self) -> bool {
        self.setup == "normal"
    }
}

/// The file and its lines.
pub(crate) struct Results {
    path: PathBuf,
    pub(crate) lines: Vec<Line>,
}

impl Results {
    /// Those of the file so far; none if it is not there yet.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let parse =
            |line: &String| serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()));
        let lines = lines::read(path)?.iter().map(parse).collect::<Result<_>>()?;
        Ok(Self { path: path.to_owned(), lines })
    }

    /// Adds a run.
    pub(crate) fn add(&mut self, mut run: Run, verdict: Verdict) -> Result<()> {
        run.not_recorded.clear();
        let line = Line::Run { run: Box::new(run), verdict: Box::new(verdict) };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(&text)?;
        self.lines.push(line);
        Ok(())
    }

    /// The runs of this program that count.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (&Run, &Verdict)> {
        self.all_runs().filter(|(run, _)| run.set_aside.is_none())
    }

    /// Those that count for nothing, too.
    pub(crate) fn all_runs(&self) -> impl Iterator<Item = (&Run, &Verdict)> {
        self.lines.iter().filter_map(|line| match line {
            Line::Run { run, verdict } => Some((&**run, &**verdict)),
            _ => None,
        })
    }

    /// A seed that no run has had.
    pub(crate) fn next_seed(&self) -> u64 {
        self.all_runs().map(|(run, _)| run.seed).max().unwrap_or(0) + 1
    }
}
