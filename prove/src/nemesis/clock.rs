//! Clocks that jump: libfaketime, in worker processes and in the store's server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ackonce_testkit::seed::Dice;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{StoreKind, control, folder_of};

/// Seconds: a step of a time service, an hour of a wrong zone, a day of a wrong date.
const JUMPS: [i64; 6] = [-86_400, -3600, -10, 10, 3600, 86_400];
/// In the file of a clock that is right.
const RIGHT: &str = "+0";

/// The folder in which libfaketime keeps two files for each process, which a killed one leaves behind.
const SHARED: &str = "/dev/shm";

/// The clock of a run's workers. They are on one host, so they share it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkerClock {
    /// Holds the offset.
    file: PathBuf,
    library: PathBuf,
}

impl WorkerClock {
    /// A right clock, whose file is in `dir`.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let (file, library) = (dir.join("clock"), library()?);
        std::fs::write(&file, RIGHT)?;
        Ok(Self { file, library })
    }

    /// Puts a process under this clock. Waits and time-outs go on as ever.
    pub(crate) fn rule(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }
}

fn library() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    libraries
        .find(|library| library.exists())
        .context("--faults clock: libfaketime is missing; apt-get install libfaketime")
}

/// All clocks of a run.
pub(crate) struct Clocks {
    workers: WorkerClock,
    server: Option<ServerClock>,
}

/// The clock of the store's server: a file that scripts/servers looks for when it starts the server.
struct ServerClock {
    name: &'static str,
    file: PathBuf,
}

impl Clocks {
    /// Starts PostgreSQL again, under a clock of its own. Redis does not run under libfaketime: its allocator calls the clock
    /// before there is one.
    pub(crate) async fn set_up(workers: WorkerClock, store: StoreKind) -> Result<Self> {
        let Some(name) = store.server().filter(|_| store == StoreKind::Postgres) else {
            return Ok(Self { workers, server: None });
        };
        let file = folder_of(name)?.join("clock");
        std::fs::write(&file, RIGHT)?;
        again(name).await?;
        Ok(Self { workers, server: Some(ServerClock { name, file }) })
    }

    /// One of the clocks jumps, and is set right after a while.
    pub(super) async fn jump(&self, dice: &mut Dice) -> Result<()> {
        let file = match &self.server {
            Some(server) if dice.below(2) == 0 => &server.file,
            _ => &self.workers.file,
        };
        set(file, &format!("{:+}", JUMPS[dice.index(JUMPS.len())]))?;
        tokio::time::sleep(dice.between(&(Duration::from_millis(500)..=Duration::from_secs(4)))).await;
        set(file, RIGHT)
    }

    /// Gives the server its own clock back, and clears up after the processes that were killed.
    pub(crate) async fn heal(&self) -> Result<()> {
        for entry in std::fs::read_dir(SHARED)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let its_own = ["faketime_shm_", "sem.faketime_sem_"];
            let pid = its_own.iter().find_map(|prefix| name.strip_prefix(prefix));
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        let Some(ServerClock { name, file }) = &self.server else { return Ok(()) };
        std::fs::remove_file(file)?;
        again(name).await
    }
}

/// At once: a reader never finds half of it.
fn set(file: &Path, offset: &str) -> Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, offset)?;
    Ok(std::fs::rename(new, file)?)
}

async fn again(server: &'static str) -> Result<()> {
    control("kill", server).await?;
    control("start", server).await
}
