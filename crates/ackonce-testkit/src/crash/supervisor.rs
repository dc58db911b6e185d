//! The loop behind a fleet: start, strike, notice, start again.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::fleet::{Fleet, Progress};
use super::history::{EventKind, FleetEvent, History};
use super::point::{CRASH_AT, Hit, PAUSE_AT, POINT_LOG};
use super::worker::{Worker, tail};
use crate::ledger::micros_now;
use crate::lines::Items;
use crate::seed::Dice;

/// The time between two rounds of the supervisor.
const TICK: Duration = Duration::from_millis(5);

pub(super) struct Supervisor<'a> {
    fleet: &'a Fleet,
    dice: Dice,
    seats: Vec<Seat>,
    points: Items<Hit>,
    /// The number of lines of the point log that were acted on.
    points_seen: usize,
    next_kill: Option<Instant>,
    next_pause: Option<Instant>,
    history: History,
    progress: Progress,
}

/// The place of one worker.
enum Seat {
    Running(Worker),
    /// Killed; to be started again then.
    Empty(Instant),
    /// Ended by itself, without an error: done.
    Done,
}

impl Seat {
    fn into_worker(self) -> Option<Worker> {
        match self {
            Self::Running(worker) => Some(worker),
            Self::Empty(_) | Self::Done => None,
        }
    }
}

type Outcome = Result<(), String>;

impl<'a> Supervisor<'a> {
    pub(super) fn new(fleet: &'a Fleet) -> Self {
        let now = Instant::now();
        let mut new = Self {
            fleet,
            dice: Dice::new(fleet.seed),
            seats: (0..fleet.size).map(|_| Seat::Empty(now)).collect(),
            points: Items::new(fleet.dir.join("points.jsonl")),
            points_seen: 0,
            next_kill: None,
            next_pause: None,
            history: History { seed: fleet.seed, events: Vec::new() },
            progress: Progress::default(),
        };
        new.next_kill = new.fleet.faults.kill_every.as_ref().map(|every| now + new.dice.between(every));
        new.next_pause = new.fleet.faults.pause_every.as_ref().map(|every| now + new.dice.between(every));
        new
    }

    /// Runs until an error that is no injected fault.
    pub(super) async fn cause_chaos(&mut self, progress: &Mutex<Progress>) -> String {
        if let Err(e) = std::fs::create_dir_all(&self.fleet.dir) {
            return format!("{}: {e}", self.fleet.dir.display());
        }
        loop {
            if let Err(error) = self.tick() {
                return error;
            }
            *progress.lock().unwrap_or_else(PoisonError::into_inner) = self.progress;
            tokio::time::sleep(TICK).await;
        }
    }

    fn tick(&mut self) -> Outcome {
        let now = Instant::now();
        self.read_points()?;
        for index in 0..self.seats.len() {
            self.look_after(index, now)?;
        }
        if self.heals() {
            return Ok(());
        }
        let faults = &self.fleet.faults;
        if let Some(every) = faults.kill_every.as_ref().filter(|_| self.next_kill.is_some_and(|at| at <= now))
        {
            self.next_kill = Some(now + self.dice.between(every));
            self.strike(|this, worker| this.kill(worker))?;
        }
        if let Some(every) =
            faults.pause_every.as_ref().filter(|_| self.next_pause.is_some_and(|at| at <= now))
        {
            self.next_pause = Some(now + self.dice.between(every));
            let time = self.dice.between(&faults.pause_for);
            self.strike(|_, mut worker| {
                worker.pause(time);
                Ok(Seat::Running(worker))
            })?;
        }
        Ok(())
    }

    fn heals(&self) -> bool {
        let Progress { kills, crashes, pauses, .. } = self.progress;
        let spent = self.fleet.faults.at_most.is_some_and(|most| kills + crashes + pauses >= most);
        spent || self.fleet.healing.is_cancelled()
    }

    fn record(&mut self, event: FleetEvent) {
        let Progress { starts, kills, crashes, pauses } = &mut self.progress;
        match event.kind {
            EventKind::Started => *starts += 1,
            EventKind::Killed => *kills += 1,
            EventKind::Crashed { .. } => *crashes += 1,
            EventKind::Paused { .. } => *pauses += 1,
            EventKind::Terminated | EventKind::TerminatedByForce | EventKind::Ended => {}
        }
        self.history.events.push(event);
    }

    /// Applies `fault` to a random worker that is not paused.
    fn strike(&mut self, fault: impl FnOnce(&mut Self, Worker) -> Result<Seat, String>) -> Outcome {
        let able = |seat: &Seat| matches!(seat, Seat::Running(worker) if !worker.is_standing());
        let victims: Vec<_> = (0..self.seats.len()).filter(|n| able(&self.seats[*n])).collect();
        let Some(&victim) = victims.get(self.dice.index(victims.len())) else { return Ok(()) };
        match std::mem::replace(&mut self.seats[victim], Seat::Done) {
            Seat::Running(worker) => self.seats[victim] = fault(self, worker)?,
            seat => self.seats[victim] = seat,
        }
        Ok(())
    }

    fn kill(&mut self, mut worker: Worker) -> Result<Seat, String> {
        let from = micros_now();
        worker.kill().map_err(|e| format!("worker {} could not be killed: {e}", worker.index))?;
        self.record(worker.event(EventKind::Killed, from));
        Ok(self.empty())
    }

    fn empty(&mut self) -> Seat {
        Seat::Empty(Instant::now() + self.dice.between(&self.fleet.faults.restart_after))
    }

    /// Workers that stopped themselves at a point are to be continued.
    fn read_points(&mut self) -> Outcome {
        self.points.catch_up().map_err(|e| format!("the point log cannot be read: {e}"))?;
        for hit in &self.points.items[self.points_seen..] {
            let time = self.dice.between(&self.fleet.faults.pause_for);
            for seat in &mut self.seats {
                match seat {
                    Seat::Running(worker) if worker.pid() == hit.pid && hit.stops => {
                        worker.stands(hit.at, time, Some(hit.point.clone()));
                    }
                    _ => {}
                }
            }
        }
        self.points_seen = self.points.items.len();
        Ok(())
    }

    fn look_after(&mut self, index: usize, now: Instant) -> Outcome {
        match &mut self.seats[index] {
            Seat::Empty(at) if *at <= now => {
                let worker = self.start(index)?;
                self.record(worker.started());
                self.seats[index] = Seat::Running(worker);
            }
            Seat::Running(worker) => {
                let resumed = worker.resume(Some(now));
                let ended =
                    worker.ended().map_err(|e| format!("worker {index} cannot be waited for: {e}"))?;
                resumed.into_iter().for_each(|event| self.record(event));
                if let Some(status) = ended {
                    self.ended(index, status)?;
                }
            }
            Seat::Empty(_) | Seat::Done => {}
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> Result<Worker, String> {
        let mut command = (self.fleet.command)(index);
        command.env(POINT_LOG, self.fleet.dir.join("points.jsonl"));
        let faults = &self.fleet.faults;
        let crash = faults.arm(&faults.crash_points, &mut self.dice);
        let pause = faults.arm(&faults.pause_points, &mut self.dice);
        let armed = !self.heals();
        command.env(CRASH_AT, crash.filter(|_| armed).unwrap_or_default());
        command.env(PAUSE_AT, pause.filter(|_| armed).unwrap_or_default());
        let log = self.log(index);
        Worker::start(command, index, &log).map_err(|e| format!("worker {index} did not start: {e}"))
    }

    fn ended(&mut self, index: usize, status: ExitStatus) -> Outcome {
        let Seat::Running(worker) = std::mem::replace(&mut self.seats[index], Seat::Done) else {
            return Ok(());
        };
        if status.success() {
            self.record(worker.event(EventKind::Ended, micros_now()));
            return Ok(());
        }
        match self.crash_of(&worker, status)? {
            Some(crash) => {
                self.record(crash);
                self.seats[index] = self.empty();
                Ok(())
            }
            None => Err(format!("worker {index} ended by itself: {status}")),
        }
    }

    /// The point at which it killed itself. It logs that first, so the line has been written by now.
    fn crash_of(&mut self, worker: &Worker, status: ExitStatus) -> Result<Option<FleetEvent>, String> {
        self.points.catch_up().map_err(|e| format!("the point log cannot be read: {e}"))?;
        let hit = self.points.items.iter().rfind(|hit| hit.pid == worker.pid() && !hit.stops);
        let hit = hit.filter(|_| status.signal() == Some(Signal::KILL.as_raw()));
        Ok(hit.map(|hit| {
            let kind = EventKind::Crashed { point: hit.point.clone() };
            // Other handlers of the process go on for the moment that the signal takes to arrive.
            worker.event(kind, hit.at)
        }))
    }

    /// Sends SIGTERM to all, and SIGKILL to those that still run after their grace.
    pub(super) async fn end_all(&mut self) -> Outcome {
        let from = micros_now();
        let mut running: Vec<_> = self.seats.drain(..).filter_map(Seat::into_worker).collect();
        for worker in &mut running {
            let resumed = worker.resume(None);
            worker.signal(Signal::TERM);
            resumed.into_iter().for_each(|event| self.record(event));
        }
        let deadline = Instant::now() + self.fleet.grace;
        while !running.is_empty() {
            let late = Instant::now() >= deadline;
            for mut worker in std::mem::take(&mut running) {
                // A worker that has just stopped itself would not receive it.
                worker.signal(Signal::CONT);
                match worker.ended().map_err(|e| format!("worker {} is lost: {e}", worker.index))? {
                    Some(status) => self.terminated(&worker, status, from)?,
                    None if late => {
                        worker.kill().map_err(|e| format!("worker {} does not die: {e}", worker.index))?;
                        self.record(worker.event(EventKind::TerminatedByForce, from));
                    }
                    None => running.push(worker),
                }
            }
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }

    fn terminated(&mut self, worker: &Worker, status: ExitStatus, from: u64) -> Outcome {
        let event = match self.crash_of(worker, status)? {
            Some(crash) => crash,
            None if status.success() || status.signal() == Some(Signal::TERM.as_raw()) => {
                worker.event(EventKind::Terminated, from)
            }
            None => return Err(format!("worker {} was asked to end and failed: {status}", worker.index)),
        };
        self.record(event);
        Ok(())
    }

    fn log(&self, index: usize) -> PathBuf {
        self.fleet.dir.join(format!("worker-{index}.log"))
    }

    pub(super) fn tails(&self) -> String {
        let logs = (0..self.fleet.size).map(|n| format!("== worker {n} ==\n{}", tail(&self.log(n))));
        logs.collect::<Vec<_>>().join("\n")
    }

    pub(super) fn into_history(self) -> History {
        self.history
    }
}
