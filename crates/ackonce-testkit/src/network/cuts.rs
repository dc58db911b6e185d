//! Cutting a call at its first step, at its second, and so on, until it gets through.

use super::bench::Bench;
use crate::conformance::bench::SHORT;
use crate::proxy::{Proxy, ProxyCounts, ProxyMode};

/// No call takes more steps than this.
const STEPS: u32 = 200;

/// The direction that is cut, and the kind of cut.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Requests,
    Replies,
    RepliesByReset,
}

/// Every way to cut.
pub(super) const WAYS: [What; 3] = [What::Requests, What::Replies, What::RepliesByReset];

impl What {
    pub(super) fn cut(self, proxy: &Proxy, nth: u32) {
        match self {
            Self::Requests => proxy.set_requests(ProxyMode::Cut { nth }),
            Self::Replies => proxy.set_replies(ProxyMode::Cut { nth }),
            Self::RepliesByReset => proxy.set_replies(ProxyMode::Reset { nth }),
        }
    }
}

/// The state of the connection that a call meets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// A connection that has been used.
    Warm,
    /// A connection that is dead.
    Cold,
}

/// One run through the steps of a call.
pub(super) struct Cuts<'a> {
    bench: &'a Bench,
    what: What,
    start: Start,
    nth: u32,
    calls: u32,
    before: Option<ProxyCounts>,
}

/// The number of calls that were cut.
pub(super) fn cut(counts: &ProxyCounts) -> u64 {
    counts.requests.cut + counts.replies.cut
}

impl<'a> Cuts<'a> {
    pub(super) fn new(bench: &'a Bench, what: What, start: Start) -> Self {
        Self { bench, what, start, nth: 0, calls: 0, before: None }
    }

    /// The ID for the next call; `None` once every step was cut. `is_answered` is about the call before.
    pub(super) async fn next(&mut self, is_answered: bool) -> Option<String> {
        let was_cut = self.before.is_none_or(|before| cut(&self.bench.proxy.counts()) > cut(&before));
        if was_cut {
            self.next_step().await;
        } else if is_answered {
            self.bench.proxy.set(ProxyMode::Pass);
            assert!(self.nth > 1, "nothing was cut");
            return None;
        } else {
            // The client has not noticed yet that its connection is dead, or waits before it connects again.
            assert!(self.calls < 100 * STEPS, "nothing was cut, and nothing gets through");
            tokio::time::sleep(SHORT / 4).await;
        }
        self.calls += 1;
        Some(format!("{:?} {:?} step {} call {}", self.what, self.start, self.nth, self.calls))
    }

    async fn next_step(&mut self) {
        self.nth += 1;
        assert!(self.nth < STEPS, "a call of so many steps never gets through");
        match self.start {
            Start::Warm => self.bench.warm_up().await,
            Start::Cold => self.bench.proxy.cut_all().await,
        }
        self.before = Some(self.bench.proxy.counts());
        self.what.cut(&self.bench.proxy, self.nth);
    }
}
