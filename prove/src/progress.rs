//! The bar of a run.

use std::time::Duration;

use ackonce_testkit::crash::Progress;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::RunArgs;

pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Hidden where standard error is no terminal.
    pub(crate) fn new(args: &RunArgs) -> Self {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {elapsed} {prefix}: {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_prefix(format!("{} {:?} {:?}", args.store, args.broker, args.mode).to_lowercase());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    pub(crate) fn show(&self, progress: &Progress, published: usize) {
        let Progress { kills, crashes, pauses, .. } = progress;
        self.0.set_message(format!(
            "{published} deliveries, {kills} kills, {crashes} crashes, {pauses} pauses"
        ));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
