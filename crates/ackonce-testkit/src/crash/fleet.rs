//! The settings of a fleet, its progress and its error.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ackonce::CancellationToken;

use super::Faults;
use super::history::History;

/// Several processes of one program, kept running through faults until a condition holds.
///
/// The seed decides every random choice, but not the timing of the machine. Every kill and pause is
/// recorded with its moment, so that an [`audit`](crate::audit::audit) can tell an explained repetition from a
/// bug. Children are killed when a `run` is dropped or panics.
///
/// ```no_run
/// use std::process::Command;
/// use std::time::Duration;
/// use ackonce_testkit::crash::{Faults, Fleet};
/// # async fn all_done() -> bool { true }
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let faults = Faults { kill_every: Some(Duration::from_millis(20)..=Duration::from_millis(200)), ..Faults::default() };
/// let fleet = Fleet::new("target/crash", 3, |worker| {
///     let mut command = Command::new("target/debug/my-worker");
///     command.arg(format!("--name=worker-{worker}"));
///     command
/// });
/// let history = fleet
///     .with_seed(7)
///     .with_faults(faults)
///     .run(|progress| async move { progress.kills >= 100 && all_done().await })
///     .await?;
/// # Ok(()) }
/// ```
pub struct Fleet {
    pub(super) dir: PathBuf,
    pub(super) size: usize,
    pub(super) command: Box<dyn Fn(usize) -> Command + Send + Sync>,
    pub(super) seed: u64,
    pub(super) faults: Faults,
    pub(super) bound: Duration,
    pub(super) grace: Duration,
    pub(super) healing: CancellationToken,
}

/// The progress of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Processes started, restarts included.
    pub starts: usize,
    /// Kills at random moments.
    pub kills: usize,
    /// Kills at named points.
    pub crashes: usize,
    /// Pauses that have ended, random and at named points.
    pub pauses: usize,
}

impl Fleet {
    /// `size` workers, each started by the command that `command` makes for its number (from 0). Their output
    /// is appended to `worker-<number>.log` in `dir`, which is created.
    pub fn new(
        dir: impl AsRef<Path>,
        size: usize,
        command: impl Fn(usize) -> Command + Send + Sync + 'static,
    ) -> Self {
        Self {
            dir: dir.as_ref().to_path_buf(),
            size,
            command: Box::new(command),
            seed: 0,
            faults: Faults::default(),
            bound: Duration::from_secs(120),
            grace: Duration::from_secs(10),
            healing: CancellationToken::new(),
        }
    }

    /// The seed of every random choice (default 0).
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The faults and their rates (default none).
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Leaves the fleet to heal once the token is cancelled: no more kills or pauses at random moments, and workers that
    /// start are not armed (default: faults go on until [`Faults::at_most`]).
    #[must_use]
    pub fn with_healing(mut self, healing: CancellationToken) -> Self {
        self.healing = healing;
        self
    }

    /// The time limit for the condition to hold (default 2 minutes).
    #[must_use]
    pub fn with_bound(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// The time that workers have to end after SIGTERM before they are killed (default 10 seconds).
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dir, size, seed, faults, bound, grace, healing: _, command: _ } = self;
        f.debug_struct("Fleet")
            .field("dir", dir)
            .field("size", size)
            .field("seed", seed)
            .field("faults", faults)
            .field("bound", bound)
            .field("grace", grace)
            .finish()
    }
}

/// A run that failed.
pub struct FleetError {
    pub(super) fault: String,
    pub(super) tails: String,
    /// The events until then.
    pub history: History,
}

impl fmt::Display for FleetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (seed {})\n{}", self.fault, self.history.seed, self.tails)
    }
}

impl fmt::Debug for FleetError {
    /// As `Display`, since `unwrap` shows this text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for FleetError {}
