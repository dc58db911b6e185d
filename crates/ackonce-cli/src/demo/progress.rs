//! The display of a run: bars on a terminal, now and then a line elsewhere, nothing with `--json`.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plan::Blow;
use crate::streams;

/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(10);

/// All bars of a run.
#[derive(Debug)]
pub(crate) struct Screen {
    bars: MultiProgress,
    lines: bool,
}

impl Screen {
    pub(crate) fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target =
            if terminal && !quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), lines: !terminal && !quiet }
    }

    /// A bar of `len` steps.
    pub(crate) fn bar(&self, name: &'static str, len: u64) -> Bar {
        let bar = self.bars.add(ProgressBar::new(len));
        let template = "{prefix:>15} [{bar:32}] {pos:>7}/{len} {elapsed:>4}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name);
        Bar { name, len, bar, lines: self.lines, state: Mutex::new(State::new()) }
    }
}

/// One arm's progress.
#[derive(Debug)]
pub(crate) struct Bar {
    name: &'static str,
    len: u64,
    bar: ProgressBar,
    lines: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    kills: u32,
    pauses: u32,
    said: Instant,
}

impl State {
    fn new() -> Self {
        Self { kills: 0, pauses: 0, said: Instant::now() }
    }
}

impl Bar {
    /// So many steps are done.
    pub(crate) fn at(&self, steps: impl TryInto<u64>) {
        let steps = steps.try_into().unwrap_or(0);
        self.bar.set_position(steps);
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if self.lines && state.said.elapsed() >= LINE {
            state.said = Instant::now();
            streams::note(format_args!("{:>15}: {steps} of {}, {} kills", self.name, self.len, state.kills));
        }
    }

    /// A worker was struck.
    pub(crate) fn struck(&self, blow: Blow) {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        match blow {
            Blow::Kill => state.kills += 1,
            Blow::Pause => state.pauses += 1,
        }
        self.bar.set_message(format!("{} kills, {} pauses", state.kills, state.pauses));
    }

    /// All steps are done.
    pub(crate) fn done(&self) {
        self.bar.finish();
    }
}
