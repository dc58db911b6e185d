//! Metrics of the `metrics` facade, each registered by the constant that describes it.
//!
//! `docs/METRICS.md` lists all of them with the figure to alert on; a test holds it against [`METRICS`] and the same
//! constants of the adapters' crates.

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Unit};

pub use super::METRICS;

/// One metric: its name, unit, labels and meaning, the last of which exporters show (as `# HELP` for Prometheus).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The name, as it is registered.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// The description.
    pub meaning: &'static str,
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution; the exporter chooses the buckets or quantiles.
    Histogram,
}

impl Metric {
    /// A counter.
    #[must_use]
    pub const fn counter(name: &'static str, labels: &'static [&'static str], meaning: &'static str) -> Self {
        Self { name, kind: Kind::Counter, unit: Unit::Count, labels, meaning }
    }

    /// A gauge of a number.
    #[must_use]
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], meaning: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, unit: Unit::Count, labels, meaning }
    }

    /// A histogram of durations, in seconds.
    #[must_use]
    pub const fn durations(
        name: &'static str,
        labels: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Histogram, unit: Unit::Seconds, labels, meaning }
    }

    /// The same, measured in seconds.
    #[must_use]
    pub const fn in_seconds(mut self) -> Self {
        self.unit = Unit::Seconds;
        self
    }

    /// Tells the recorder its unit and meaning. Once for each recorder is enough; again does no harm.
    pub fn describe(&self) {
        let (name, unit, meaning) = (KeyName::from(self.name), Some(self.unit), self.meaning.into());
        metrics::with_recorder(|recorder| match self.kind {
            Kind::Counter => recorder.describe_counter(name, unit, meaning),
            Kind::Gauge => recorder.describe_gauge(name, unit, meaning),
            Kind::Histogram => recorder.describe_histogram(name, unit, meaning),
        });
    }

    /// The counter with these values of [`labels`](Self::labels), in their order.
    pub fn counter_of(&self, values: &[&str]) -> Counter {
        metrics::with_recorder(|recorder| recorder.register_counter(&self.key(values), &METADATA))
    }

    /// The gauge with these values of [`labels`](Self::labels), in their order.
    pub fn gauge_of(&self, values: &[&str]) -> Gauge {
        metrics::with_recorder(|recorder| recorder.register_gauge(&self.key(values), &METADATA))
    }

    /// The histogram with these values of [`labels`](Self::labels), in their order.
    pub fn histogram_of(&self, values: &[&str]) -> Histogram {
        metrics::with_recorder(|recorder| recorder.register_histogram(&self.key(values), &METADATA))
    }

    fn key(&self, values: &[&str]) -> Key {
        debug_assert_eq!(values.len(), self.labels.len(), "{}", self.name);
        let labels = self.labels.iter().zip(values);
        let labels: Vec<_> = labels.map(|(name, value)| Label::new(*name, shown(value))).collect();
        Key::from_parts(self.name, labels)
    }
}

/// The text of a label without control characters, which some exporters write as they are: topics, queues and errors
/// have names that others chose.
fn shown(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for char in value.chars() {
        match char.is_control() {
            true => text.extend(char.escape_default()),
            false => text.push(char),
        }
    }
    text
}

/// The target is that of the log lines.
static METADATA: Metadata<'static> = Metadata::new("ackonce", Level::INFO, Some(module_path!()));
