//! A disk that fails to flush: strace answers fsync and fdatasync of some processes with EIO.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// The processes below this one, the process itself first.
pub(super) fn family(of: u32) -> Vec<u32> {
    let mut all = vec![of];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        next += 1;
        all.extend(children(parent));
    }
    all
}

fn children(of: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent(*pid) == Some(of)).collect()
}

/// The name before the state may have spaces.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// While it lives, one flush in three of the processes fails, and nothing has been written back.
pub(super) struct FailedFlushes(Child);

impl FailedFlushes {
    pub(super) fn begin(pids: &[u32]) -> Result<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]);
        strace.args(["-e", "inject=fsync,fdatasync:error=EIO:when=1+3"]);
        pids.iter().for_each(|pid| {
            strace.arg("-p").arg(pid.to_string());
        });
        // It says which of the processes have ended meanwhile.
        strace.stdin(Stdio::null()).stderr(Stdio::null());
        Ok(Self(
            strace
                .spawn()
                .context("--faults store-fsync: strace cannot be started; apt-get install strace")?,
        ))
    }

    /// Lets the processes go.
    pub(super) async fn end(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        while self.0.try_wait()?.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Drop for FailedFlushes {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
