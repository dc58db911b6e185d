//! The contents of the screen: the last state, and rates over the last seconds.

use std::collections::VecDeque;

use ackonce_console::snapshot::{RunnerView, Snapshot};

use super::source::Looked;

/// The span of a rate, in milliseconds.
const SPAN: u64 = 5000;
/// The values of a small chart.
pub(super) const KEPT: usize = 120;

/// The figures whose growth is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) completed: u64,
    pub(super) duplicate: u64,
    pub(super) failed: u64,
}

/// Growth per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) completed: f64,
    pub(super) duplicate: f64,
    pub(super) failed: f64,
}

#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) state: Option<Box<Snapshot>>,
    pub(super) trouble: Option<String>,
    pub(super) paused: bool,
    pub(super) help: bool,
    /// Completed a second, of each look.
    pub(super) course: VecDeque<u64>,
    looks: VecDeque<(u64, Sums)>,
}

/// A key that somebody pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Pause,
    Help,
}

impl View {
    pub(super) fn take(&mut self, looked: Looked) {
        if self.paused {
            return;
        }
        match looked {
            Ok(state) => {
                self.trouble = None;
                self.look(state.at_ms, Sums::of(&state));
                self.state = Some(state);
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// True if the program goes on.
    pub(super) fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Quit => return false,
            Key::Pause => {
                self.paused = !self.paused;
                // A rate over the pause would be none of now.
                self.looks.clear();
            }
            Key::Help => self.help = !self.help,
        }
        true
    }

    /// `None` before the second look.
    pub(super) fn rates(&self) -> Option<Rates> {
        let ((then, before), (now, sums)) = (self.looks.front()?, self.looks.back()?);
        let millis = now.checked_sub(*then).filter(|millis| *millis > 0)?;
        #[allow(clippy::cast_precision_loss, reason = "a figure on a screen")]
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 * 1000.0 / millis as f64;
        Some(Rates {
            completed: rate(sums.completed, before.completed),
            duplicate: rate(sums.duplicate, before.duplicate),
            failed: rate(sums.failed, before.failed),
        })
    }

    fn look(&mut self, at_ms: u64, sums: Sums) {
        if let Some((then, before)) = self.looks.back() {
            let millis = at_ms.saturating_sub(*then).max(1);
            let grown = sums.completed.saturating_sub(before.completed);
            self.course.push_back(grown.saturating_mul(1000) / millis);
            if self.course.len() > KEPT {
                self.course.pop_front();
            }
        }
        self.looks.push_back((at_ms, sums));
        while self.looks.len() > 2 && self.looks.front().is_some_and(|(then, _)| then + SPAN < at_ms) {
            self.looks.pop_front();
        }
    }
}

impl Sums {
    /// Of the program's runners; of a store alone, which counts no duplicates, its records.
    fn of(state: &Snapshot) -> Self {
        if shows_program(state) {
            let sum = |of: fn(&RunnerView) -> u64| state.runners.iter().map(of).sum();
            return Self {
                completed: sum(|r| r.completed),
                duplicate: sum(|r| r.duplicate + r.duplicate_of_buried),
                failed: sum(|r| r.retried + r.buried),
            };
        }
        let total = state.store.answer.as_ref().map(|answer| answer.total).unwrap_or_default();
        Self { completed: total.done, duplicate: 0, failed: total.buried }
    }
}

/// True if a program tells the state, not a store alone.
pub(super) fn shows_program(state: &Snapshot) -> bool {
    state.program.is_some() || !state.runners.is_empty()
}
