//! The bar of a run, and its end if nothing moves any more.

use std::time::Duration;

use ackonce_testkit::crash::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

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

/// Notices that no more deliveries are acknowledged. A slow machine alone ends no run.
pub(crate) struct Stall {
    bound: Duration,
    least: usize,
    since: Instant,
}

impl Stall {
    pub(crate) fn new(bound: Duration) -> Self {
        Self { bound, least: usize::MAX, since: Instant::now() }
    }

    /// True if there are not fewer `left` than at any look for as long as the bound. The first look begins it.
    pub(crate) fn is_over(&mut self, left: Option<usize>) -> bool {
        let now = Instant::now();
        if self.least == usize::MAX || left.is_some_and(|left| left < self.least) {
            self.least = left.unwrap_or(usize::MAX - 1);
            self.since = now;
        }
        now - self.since > self.bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn progress_begins_the_bound_anew_and_an_unknown_rest_is_none() {
        let second = Duration::from_secs(1);
        let mut stall = Stall::new(second * 2);
        tokio::time::advance(second * 9).await;
        assert!(!stall.is_over(None), "the first look");
        tokio::time::advance(second * 2).await;
        assert!(!stall.is_over(Some(7)), "fewer than unknown");
        for left in [Some(7), None] {
            tokio::time::advance(second).await;
            assert!(!stall.is_over(left), "{left:?}");
        }
        tokio::time::advance(second).await;
        assert!(stall.is_over(Some(8)), "more than at an earlier look");
        assert!(!stall.is_over(Some(6)), "fewer");
    }
}
