//! A store with very many IDs: filled by a process that is killed again and again, and asked after each kill.

mod fill;
mod sample;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ackonce_testkit::seed::Dice;
use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

pub(crate) use self::fill::fill;
use self::fill::{Filled, Order};
use self::sample::Known;

/// IDs of a sample after a kill.
const SAMPLE: u64 = 10_000;
/// IDs of the sample at the end.
const LAST_SAMPLE: u64 = 1_000_000;

#[derive(Debug, Args)]
pub(crate) struct RememberArgs {
    /// The number of IDs
    #[arg(long, default_value_t = 100_000_000)]
    ids: u64,
    /// Kills of the process that fills the store
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// A folder with room for 45 bytes an ID; the file is removed at the end
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The result of a run.
#[derive(Debug, Default, Serialize)]
struct Remembered {
    store: &'static str,
    ids: u64,
    kills: usize,
    seed: u64,
    /// Claims of IDs that were settled before, and those of them that were not answered as duplicates.
    asked: u64,
    forgotten: u64,
    /// New IDs that were answered as duplicates. Each ID of the run was asked for.
    taken_for_known: u64,
    bytes_per_id: f64,
    /// IDs remembered, and new ones claimed and completed a second at that size.
    rates: Vec<(u64, f64)>,
    /// The longest time from the start of a process after a kill to its first settled batch.
    reopened_ms: u64,
    versions: Vec<String>,
}

/// Fills and asks. False if an ID was forgotten, or taken for a known one.
pub(crate) async fn run(args: &RememberArgs) -> Result<bool> {
    let dir = tempfile::tempdir_in(&args.directory)?;
    let mut dice = Dice::new(args.seed);
    let mut stops: Vec<u64> = (0..args.kills).map(|_| dice.below(args.ids)).collect();
    stops.sort_unstable();
    let mut result = Remembered {
        store: "sqlite",
        ids: args.ids,
        seed: args.seed,
        versions: crate::versions(),
        ..Default::default()
    };
    let file = dir.path().join("dedup.db");
    for stop in stops {
        let mut filler = Filler::start(dir.path(), args.ids)?;
        filler.until(|filled| filled.done >= stop)?;
        tokio::time::sleep(dice.between(&(Duration::ZERO..=Duration::from_millis(100)))).await;
        result.kills += usize::from(filler.kill()?);
        let done = Filled::read(dir.path())?.done;
        result.ask(&Known { file: &file, done }, SAMPLE, &mut dice).await?;
        eprintln!(
            "{done} remembered, {} kills, {} asked, {} forgotten",
            result.kills, result.asked, result.forgotten
        );
    }
    let mut filler = Filler::start(dir.path(), args.ids)?;
    filler.until(|filled| filled.done == args.ids)?;
    ensure!(filler.0.wait()?.success(), "the process that fills the store has failed");
    let filled = Filled::read(dir.path())?;
    result.ask(&Known { file: &file, done: filled.done }, LAST_SAMPLE.min(args.ids), &mut dice).await?;
    result.taken_for_known = filled.taken_for_known;
    result.rates = filled.rates();
    result.reopened_ms = filled.reopened_ms();
    #[allow(clippy::cast_precision_loss, reason = "a ratio")]
    let each = std::fs::metadata(&file)?.len() as f64 / args.ids as f64;
    result.bytes_per_id = each;
    println!("{}", serde_json::json!({ "remembered": result }));
    Ok(result.forgotten == 0 && result.taken_for_known == 0)
}

impl Remembered {
    async fn ask(&mut self, known: &Known<'_>, count: u64, dice: &mut Dice) -> Result<()> {
        if known.done > 0 {
            self.forgotten += known.forgotten(count, dice).await?;
            self.asked += count;
        }
        Ok(())
    }
}

/// The process that fills the store; killed with its parent's run.
struct Filler(Child, PathBuf);

impl Filler {
    fn start(dir: &Path, ids: u64) -> Result<Self> {
        let order = serde_json::to_string(&Order { dir: dir.to_owned(), ids })?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("fill").arg(order).stdin(Stdio::null());
        Ok(Self(command.spawn()?, dir.to_owned()))
    }

    /// Waits until it has come so far.
    fn until(&mut self, reached: impl Fn(&Filled) -> bool) -> Result<()> {
        loop {
            let ended = self.0.try_wait()?;
            if reached(&Filled::read(&self.1)?) {
                return Ok(());
            }
            ensure!(ended.is_none(), "the process that fills the store has ended: {ended:?}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Kills it; false if it had ended.
    fn kill(mut self) -> Result<bool> {
        let runs = self.0.try_wait()?.is_none();
        self.0.kill()?;
        self.0.wait()?;
        Ok(runs)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
