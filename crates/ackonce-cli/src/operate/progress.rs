//! The progress of long work: a bar on a terminal, now and then a line elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::grouped;
use crate::streams;

/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(10);

/// The progress of one verb, on standard error.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    verb: &'static str,
    total: Option<u64>,
    start: Instant,
    said: Option<Instant>,
}

impl Progress {
    /// `verb` is the work's name, such as `redriven`.
    pub(super) fn new(verb: &'static str, total: Option<u64>) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let (bar, template) = match total {
            Some(total) => {
                (ProgressBar::new(total), "{prefix} [{bar:32}] {human_pos}/{human_len} {per_sec} {eta}")
            }
            None => (ProgressBar::no_length(), "{prefix} {spinner} {human_pos} {per_sec} {elapsed}"),
        };
        bar.set_draw_target(match is_terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        });
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(verb);
        let start = Instant::now();
        Self { bar, verb, total, start, said: (!is_terminal).then_some(start) }
    }

    /// So many are done.
    pub(super) fn at(&mut self, done: u64) {
        self.bar.set_position(done);
        if self.said.is_some_and(|said| said.elapsed() >= LINE) {
            self.said = Some(Instant::now());
            let of = self.total.map_or_else(String::new, |total| format!(" of {}", grouped(total)));
            let (done, rate) = (grouped(done), grouped(self.rate(done)));
            streams::note(format_args!("{}: {done}{of}, {rate} a second", self.verb));
        }
    }

    /// The rate so far, a second.
    pub(super) fn rate(&self, done: u64) -> u64 {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        done.saturating_mul(1000) / millis
    }

    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
