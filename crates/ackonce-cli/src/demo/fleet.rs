//! The worker processes of one arm: started, killed and paused, started again, ended.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ackonce_testkit::crash::{EventKind, FleetEvent, History};
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::micros_now;

/// The time limit for a worker to end in good order.
const GRACE: Duration = Duration::from_secs(15);
/// The number of times that workers of one arm may end by themselves before it is given up.
const FAILURES: u32 = 3;

/// A worker that stands still.
#[derive(Debug)]
struct Paused {
    worker: usize,
    from: u64,
    until: Instant,
}

/// The workers of one arm.
#[derive(Debug)]
pub(crate) struct Fleet {
    program: PathBuf,
    args: [String; 2],
    log: PathBuf,
    workers: Vec<Child>,
    paused: Vec<Paused>,
    failures: u32,
    pub(crate) history: History,
}

impl Fleet {
    pub(crate) fn start(args: [String; 2], log: PathBuf, size: u32) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let (workers, paused, history) = (Vec::new(), Vec::new(), History::default());
        let mut fleet = Self { program, args, log, workers, paused, failures: 0, history };
        for worker in 0..size as usize {
            let child = fleet.spawn(worker)?;
            fleet.workers.push(child);
        }
        Ok(fleet)
    }

    fn spawn(&mut self, worker: usize) -> Result<Child> {
        let log = File::options().append(true).create(true).open(&self.log)?;
        let from = micros_now();
        let child = Command::new(&self.program)
            .args(&self.args)
            // It ends when nobody holds the other end any more.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the demo alone, which ends its workers itself.
            .process_group(0)
            .spawn()
            .context("starting a worker process")?;
        self.note(child.id(), worker, EventKind::Started, from);
        Ok(child)
    }

    fn note(&mut self, pid: u32, worker: usize, kind: EventKind, from: u64) {
        self.history.events.push(FleetEvent { pid, worker, kind, from, to: micros_now() });
    }

    /// True if it can be struck: one that stands still feels nothing.
    pub(crate) fn is_up(&self, worker: usize) -> bool {
        self.paused.iter().all(|paused| paused.worker != worker)
    }

    /// True if nobody stands still.
    pub(crate) fn is_awake(&self) -> bool {
        self.paused.is_empty()
    }

    /// Kills a worker and starts it again.
    pub(crate) fn kill(&mut self, worker: usize) -> Result<()> {
        let (from, pid) = (micros_now(), self.workers[worker].id());
        self.workers[worker].kill().context("killing a worker")?;
        self.workers[worker].wait()?;
        self.note(pid, worker, EventKind::Killed, from);
        self.workers[worker] = self.spawn(worker)?;
        Ok(())
    }

    /// Stops a worker for that long.
    pub(crate) fn pause(&mut self, worker: usize, time: Duration) -> Result<()> {
        let from = micros_now();
        signal(&self.workers[worker], Signal::STOP)?;
        self.paused.push(Paused { worker, from, until: Instant::now() + time });
        Ok(())
    }

    /// Continues those that have stood still for long enough by `now`.
    pub(crate) fn resume(&mut self, now: Instant) -> Result<()> {
        while let Some(due) = self.paused.iter().position(|paused| paused.until <= now) {
            let Paused { worker, from, .. } = self.paused.swap_remove(due);
            signal(&self.workers[worker], Signal::CONT)?;
            self.note(self.workers[worker].id(), worker, EventKind::Paused { point: None }, from);
        }
        Ok(())
    }

    /// Starts workers again that ended by themselves, which none should.
    pub(crate) fn look_after(&mut self) -> Result<()> {
        for worker in 0..self.workers.len() {
            let Some(status) = self.workers[worker].try_wait()? else { continue };
            self.failures += 1;
            if self.failures > FAILURES {
                bail!(
                    "workers end by themselves ({status}); the last lines of {}:\n{}",
                    self.log.display(),
                    self.tail()
                );
            }
            let (from, pid) = (micros_now(), self.workers[worker].id());
            self.note(pid, worker, EventKind::Ended, from);
            self.workers[worker] = self.spawn(worker)?;
        }
        Ok(())
    }

    /// The last lines of the workers.
    pub(crate) fn tail(&self) -> String {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = said.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Asks all to end, and kills those that do not.
    pub(crate) fn end(mut self) -> Result<History> {
        if let Some(last) = self.paused.iter().map(|paused| paused.until).max() {
            self.resume(last)?;
        }
        for child in &self.workers {
            signal(child, Signal::TERM)?;
        }
        let until = Instant::now() + GRACE;
        for worker in 0..self.workers.len() {
            let (from, pid) = (micros_now(), self.workers[worker].id());
            let kind = match wait(&mut self.workers[worker], until)? {
                Some(_) => EventKind::Terminated,
                None => EventKind::TerminatedByForce,
            };
            self.note(pid, worker, kind, from);
        }
        Ok(std::mem::take(&mut self.history))
    }
}

/// No worker is left behind, even after an error.
impl Drop for Fleet {
    fn drop(&mut self) {
        for child in &mut self.workers {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits for it to end by itself, then kills it.
fn wait(child: &mut Child, until: Instant) -> Result<Option<ExitStatus>> {
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process without an ID")?;
    kill_process(pid, signal).with_context(|| format!("sending {signal:?} to a worker"))
}
