//! One process of a fleet.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::history::{EventKind, FleetEvent};
use crate::ledger::micros_now;
use crate::lines::Writer;

/// The size of the worker's output that is shown when the fleet fails, in bytes and lines.
const TAIL_BYTES: i64 = 16 * 1024;
const TAIL_LINES: usize = 20;

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) index: usize,
    child: Child,
    started: u64,
    standing: Option<Standing>,
    /// The pause at its named point is over.
    passed_point: bool,
}

/// A worker that is stopped.
#[derive(Debug)]
struct Standing {
    from: u64,
    until: Instant,
    point: Option<String>,
}

impl Worker {
    pub(super) fn start(mut command: Command, index: usize, log: &Path) -> io::Result<Self> {
        // The one before may have been killed in the middle of a line.
        let output = Writer::open(log)?;
        output.append("--- started")?;
        let output = output.into_file();
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // The frames below an error would fill the tail of the log, and hide the error.
        command.env("RUST_BACKTRACE", "0");
        let started = micros_now();
        Ok(Self { index, child: command.spawn()?, started, standing: None, passed_point: false })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn event(&self, kind: EventKind, from: u64) -> FleetEvent {
        FleetEvent { pid: self.pid(), worker: self.index, kind, from, to: micros_now() }
    }

    pub(super) fn started(&self) -> FleetEvent {
        self.event(EventKind::Started, self.started)
    }

    /// The child is not waited for yet, so its pid is still its own.
    pub(super) fn signal(&self, signal: Signal) {
        // The only failure is a process that has ended, which `ended` reports.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    pub(super) fn is_standing(&self) -> bool {
        self.standing.is_some()
    }

    /// Stops it at this moment.
    pub(super) fn pause(&mut self, time: Duration) {
        self.stands(micros_now(), time, None);
        self.signal(Signal::STOP);
    }

    /// It has stopped itself, or is about to.
    pub(super) fn stands(&mut self, from: u64, time: Duration, point: Option<String>) {
        let until = Instant::now() + time;
        match &mut self.standing {
            Some(standing) => standing.point = point.or(standing.point.take()),
            None => self.standing = Some(Standing { from, until, point }),
        }
    }

    /// Continues it if its pause has ended by `now`; without `now`, in any case.
    pub(super) fn resume(&mut self, now: Option<Instant>) -> Option<FleetEvent> {
        if self.passed_point {
            // It logs that it stops before it does, and may be so slow that it missed the first SIGCONT. It stops itself
            // only once, so a second SIGCONT does no harm.
            self.signal(Signal::CONT);
        }
        let due = self.standing.take_if(|s| now.is_none_or(|now| s.until <= now))?;
        self.passed_point |= due.point.is_some();
        self.signal(Signal::CONT);
        Some(self.event(EventKind::Paused { point: due.point }, due.from))
    }

    /// Kills it and returns when it is dead.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Worker {
    /// Kills the process, so that a test that panics leaves none behind.
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The last lines that a worker wrote.
pub(super) fn tail(log: &PathBuf) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        if file.seek(SeekFrom::End(-TAIL_BYTES)).is_err() {
            file.rewind()?;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|e| format!("(no output: {e})"));
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
