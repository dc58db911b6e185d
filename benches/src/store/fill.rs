//! Stores with many IDs, and the bytes that each ID takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackonce::store::Inspect;
use serde_json::json;

use super::Bench;
use super::subject::Subject;
use crate::harness::{figure, table};
use crate::messages::{Messages, WEEK, process};

/// A store with so many IDs in it, `1..=remembered`, in that order.
pub(super) struct Filled {
    pub(super) remembered: u64,
    pub(super) store: Arc<dyn Inspect>,
    pub(super) messages: Messages,
}

/// Messages of a batch while a store is loaded.
const LOAD: u64 = 4000;

impl Bench<'_> {
    /// One store for each size.
    pub(super) fn fill(&self, subject: &mut dyn Subject) -> anyhow::Result<Vec<Filled>> {
        let title = format!("{}: loaded", self.name);
        let mut shown = table(&title, &["messages/s", "bytes per ID"]);
        let mut filled = Vec::new();
        for &remembered in &self.options.remembered {
            eprintln!("{}: loading {remembered}", self.name);
            let name = remembered.to_string();
            let (before, store) = (subject.bytes()?, subject.open(&name)?);
            let time = self.load(subject, &name, &store, remembered, WEEK)?;
            let bytes = subject.bytes()?.saturating_sub(before);
            #[allow(clippy::cast_precision_loss, reason = "a rate is no count")]
            let (rate, each) = (remembered as f64 / time.as_secs_f64(), bytes as f64 / remembered as f64);
            let arm = format!("{remembered} remembered");
            figure(&title, &arm, json!({"messages per second": rate, "bytes per ID": each}))?;
            shown.add_row([arm, format!("{rate:.0}"), format!("{each:.1}")]);
            filled.push(Filled { remembered, store, messages: Messages::after(remembered)? });
        }
        println!("\n{shown}");
        Ok(filled)
    }

    /// Claims and completes messages `1..=count`; how long that took, without the quiet moments between.
    pub(super) fn load(
        &self,
        subject: &mut dyn Subject,
        name: &str,
        store: &Arc<dyn Inspect>,
        count: u64,
        window: Duration,
    ) -> anyhow::Result<Duration> {
        let part = subject.between_tidying(count);
        let (mut done, mut time) = (0, Duration::ZERO);
        while done < count {
            let end = count.min(done + part);
            let (began, next) = (Instant::now(), Arc::new(AtomicU64::new(done)));
            let loaders: Vec<_> = (0..subject.loaders())
                .map(|_| self.runtime.spawn(load(store.clone(), next.clone(), end, window)))
                .collect();
            for loader in loaders {
                self.runtime.block_on(loader)??;
            }
            time += began.elapsed();
            done = end;
            subject.tidy(name)?;
        }
        Ok(time)
    }
}

async fn load(
    store: Arc<dyn Inspect>,
    next: Arc<AtomicU64>,
    end: u64,
    window: Duration,
) -> anyhow::Result<()> {
    loop {
        let from = next.fetch_add(LOAD, Ordering::Relaxed);
        let Some(left) = end.checked_sub(from).filter(|left| *left > 0) else { return Ok(()) };
        let count = usize::try_from(left.min(LOAD))?;
        process(&*store, &Messages::after(from)?.with_window(window).claims(count)?).await?;
    }
}
