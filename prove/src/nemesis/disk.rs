//! A small disk for the SQLite file, which is filled and freed.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ackonce_sqlite::rusqlite::Connection;
use ackonce_testkit::seed::Dice;
use anyhow::{Context as _, Result};

/// Set in the process that has mounts of its own.
const INSIDE: &str = "ACKONCE_PROVE_MOUNTS";

/// Goes on as the same program with mounts of its own, which end with it; comes back if it has them already.
pub(crate) fn with_own_mounts() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let mut program = Command::new("unshare");
    program.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        program.arg("--map-root-user");
    }
    program.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    // It returns only if it failed.
    Err(program.exec()).context("--faults store-full: unshare, which makes the mounts, cannot be started")
}

/// A disk in memory; dropping it takes it away.
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn mount(dir: &Path) -> Result<Self> {
        let mount = dir.join("disk");
        std::fs::create_dir_all(&mount)?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=32m", "prove"]).arg(&mount);
        let mounted = command.status().context("--faults store-full: mount")?;
        anyhow::ensure!(
            mounted.success(),
            "--faults store-full: a disk cannot be mounted ({mounted}); run it as root"
        );
        Ok(Self(mount))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Full for up to three seconds. The log of the database is emptied meanwhile, so that the next write needs space.
    pub(super) async fn fill(&self, database: &Path, dice: &mut Dice) -> Result<()> {
        let ballast = self.file("ballast");
        let mut file = File::create(&ballast)?;
        write_until_full(&mut file)?;
        if let Ok(db) = Connection::open(database) {
            // A writer may hold it up; then there is less to win.
            let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        let until = tokio::time::Instant::now()
            + dice.between(&(Duration::from_millis(500)..=Duration::from_secs(3)));
        while tokio::time::Instant::now() < until {
            write_until_full(&mut file)?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(std::fs::remove_file(ballast)?)
    }
}

fn write_until_full(file: &mut File) -> Result<()> {
    loop {
        match file.write(&[0; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
