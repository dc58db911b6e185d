//! Counts that survive `kill -9`: the count is the length of a file that everybody appends to.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::arm::ArmFiles;

/// Deliveries taken from the broker.
pub(crate) const DELIVERED: &str = "delivered";
/// Deliveries whose handler ran and whose record was written.
pub(crate) const RECORDED: &str = "recorded";
/// Deliveries that ended unsettled, to be delivered again: most at a rebalance, unrun.
pub(crate) const HANDED_BACK: &str = "handed-back";
/// Deliveries that were recognised as repeats and not run.
pub(crate) const SUPPRESSED: &str = "suppressed";
/// Messages buried.
pub(crate) const BURIED: &str = "buried";
/// Effects, as a measure of progress; the audit counts them in the ledger.
pub(crate) const PROGRESS: &str = "progress";

/// Appends one byte for each thing counted. The kernel has it when the call returns, so a killed process has
/// not forgotten it, and O_APPEND keeps the counts of several processes apart.
#[derive(Debug)]
pub(crate) struct FileCounter(File);

impl FileCounter {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(File::options().append(true).create(true).open(path)?))
    }

    pub(crate) fn add(&self, n: u64) -> io::Result<()> {
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        (&self.0).write_all(&vec![b'.'; n])
    }

    /// The count so far; 0 for a file that is not there yet.
    pub(crate) fn read(path: &Path) -> u64 {
        path.metadata().map_or(0, |file| file.len())
    }
}

impl CounterFn for FileCounter {
    fn increment(&self, n: u64) {
        // A full disk shows as a stall of the whole demo, with its own error.
        let _ = self.add(n);
    }

    fn absolute(&self, _: u64) {}
}

/// Keeps those of Ackonce's own counters that the demo reports.
#[derive(Debug)]
pub(crate) struct FileRecorder {
    counters: [(&'static str, Arc<FileCounter>); 6],
}

impl FileRecorder {
    pub(crate) fn new(files: &ArmFiles) -> io::Result<Self> {
        let open = |name| FileCounter::open(&files.counter(name)).map(Arc::new);
        let suppressed = open(SUPPRESSED)?;
        Ok(Self {
            counters: [
                ("ackonce_delivered_total", open(DELIVERED)?),
                ("ackonce_completed_total", open(RECORDED)?),
                ("ackonce_handed_back_total", open(HANDED_BACK)?),
                ("ackonce_duplicate_total", suppressed.clone()),
                ("ackonce_duplicate_of_buried_total", suppressed),
                ("ackonce_buried_total", open(BURIED)?),
            ],
        })
    }
}

impl Recorder for FileRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let found = self.counters.iter().find(|(name, _)| *name == key.name());
        found.map_or_else(Counter::noop, |(_, counter)| Counter::from_arc(counter.clone()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
