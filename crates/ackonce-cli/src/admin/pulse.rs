//! A sign of life of the program's own runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// The interval between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// The time without a beat after which the runtime counts as stuck, as long as an adapter's poll thread may stand still.
const STILL: Duration = Duration::from_secs(30);

/// Beats once a second on the runtime that made it. A runtime whose threads are all blocked lets it stand.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    began: Instant,
    /// Milliseconds from `began` to the last beat.
    last: AtomicU64,
    task: JoinHandle<()>,
}

impl Pulse {
    /// A pulse of the current runtime, until the last clone is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        let began = Instant::now();
        Self(Arc::new_cyclic(|beats: &std::sync::Weak<Beats>| {
            let beats = beats.clone();
            let task = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(BEAT).await;
                    let Some(beats) = beats.upgrade() else { return };
                    let now = u64::try_from(beats.began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    beats.last.store(now, Ordering::Relaxed);
                }
            });
            Beats { began, last: AtomicU64::new(0), task }
        }))
    }

    /// True if the runtime has run a task within the last 30 s.
    #[must_use]
    pub fn beats(&self) -> bool {
        self.since() < STILL
    }

    /// The time since the last beat.
    #[must_use]
    pub fn since(&self) -> Duration {
        self.0.began.elapsed().saturating_sub(Duration::from_millis(self.0.last.load(Ordering::Relaxed)))
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.task.abort();
    }
}
