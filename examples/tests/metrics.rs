//! `docs/METRICS.md` and the code agree, and every metric has its description in an exporter.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ackonce::adapter::metric::{Kind, METRICS, Metric};
use ackonce::adapter::{Delivery, Job};
use ackonce::{Context, Failure, MemoryStore, Runner, Scope};
use metrics_exporter_prometheus::PrometheusBuilder;

fn all() -> Vec<(&'static str, &'static [Metric])> {
    vec![
        ("## Every runner", METRICS),
        ("## Kafka", ackonce_kafka::METRICS),
        ("## RabbitMQ", ackonce_amqp::METRICS),
        ("## Webhooks", ackonce_webhook::METRICS),
        ("## HTTP", ackonce_http::METRICS),
        ("## Outbox", ackonce_outbox::METRICS),
    ]
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The columns of a metric that the code knows; the last one says when to alert.
fn columns(metric: &Metric) -> String {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let unit = if metric.unit == metrics::Unit::Seconds { ", s" } else { "" };
    format!("| `{}` | {kind}{unit} | {} | {} | ", metric.name, metric.labels.join(", "), metric.meaning)
}

#[test]
fn the_table_of_metrics_and_the_code_agree() {
    let text = std::fs::read_to_string(root().join("docs/METRICS.md")).unwrap();
    for (section, metrics) in all() {
        let (_, part) = text.split_once(&format!("{section}\n")).unwrap();
        let part = part.split("\n## ").next().unwrap();
        let rows: Vec<_> = part.lines().filter(|line| line.starts_with("| `ackonce_")).collect();
        for metric in metrics {
            let columns = columns(metric);
            let row = rows.iter().find(|row| row.starts_with(&columns));
            let alert = row.map(|row| row[columns.len()..].trim_end_matches('|').trim());
            assert!(
                alert.is_some_and(|alert| !alert.is_empty()),
                "{section} lacks: {columns}WHEN TO ALERT |"
            );
        }
        assert_eq!(rows.len(), metrics.len(), "{section} has a row without a metric, or one twice");
    }
}

/// A metric that is not made of its constant has no description and no row.
#[test]
fn no_metric_is_registered_but_by_its_constant() {
    let names: BTreeSet<_> = all().iter().flat_map(|(_, metrics)| *metrics).map(|m| m.name).collect();
    let mut found = BTreeSet::new();
    for file in sources(&root().join("crates")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for macro_name in ["counter!(", "gauge!(", "histogram!("] {
            assert!(!text.contains(macro_name), "{} uses {macro_name}", file.display());
        }
        for name in text.split('"').filter(|part| part.starts_with("ackonce_") && is_name(part)) {
            if ["_total", "_seconds"].iter().any(|end| name.ends_with(end)) {
                found.insert(name.to_owned());
            }
        }
    }
    let unknown: Vec<_> = found.iter().filter(|name| !names.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?} in no METRICS");
}

/// An alert that is copied from a page would never fire.
#[test]
fn pages_name_no_metric_that_does_not_exist() {
    let names: BTreeSet<_> = all().iter().flat_map(|(_, metrics)| *metrics).map(|m| m.name).collect();
    let mut unknown = Vec::new();
    for page in
        ["README.md", "docs", "crates"].map(|part| root().join(part)).iter().flat_map(|part| pages(part))
    {
        let text = std::fs::read_to_string(&page).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("ackonce_")) {
            if ["_total", "_seconds"].iter().any(|end| name.ends_with(end)) && !names.contains(name) {
                unknown.push(format!("{}: {name}", page.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// The page, or all pages below the folder.
fn pages(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return if path.extension().is_some_and(|end| end == "md") {
            vec![path.to_owned()]
        } else {
            Vec::new()
        };
    }
    std::fs::read_dir(path).unwrap().flat_map(|entry| pages(&entry.unwrap().path())).collect()
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The Rust files of all `src` directories below.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let is_source = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "rs")
            && path.components().any(|part| part.as_os_str() == "src")
    };
    let below = directories.iter().flat_map(|directory| sources(directory));
    below.chain(files.into_iter().filter(is_source)).collect()
}

struct Order(u32);

impl Delivery for Order {
    type Message = u32;

    fn message(&self) -> u32 {
        self.0
    }

    /// The first order waited for an hour; nobody says of the others.
    fn published(&self) -> Option<SystemTime> {
        (self.0 == 1).then(|| SystemTime::now() - Duration::from_secs(3600))
    }
}

#[test]
fn an_exporter_shows_descriptions_times_and_messages_in_flight_by_a_scope_that_can_be_read() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let exported = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let scope = Scope::new("billing").unwrap().beside("of ours");
            let handler = |_: Context, _: u32| async { Ok::<(), Failure>(()) };
            let runner = Runner::new(Arc::new(MemoryStore::new()), &scope, handler).unwrap();
            for n in [1, 1, 2] {
                let job = Job::new(scope.key(n.to_string()).unwrap(), Order(n));
                let _ = runner.process(job).await.unwrap().redeem();
            }
            let counts = runner.counts();
            assert_eq!((counts.delivered, counts.completed, counts.duplicate), (3, 2, 1));
        });
    });
    let text = exported.render();
    for metric in METRICS {
        assert!(
            text.contains(&format!("# HELP {} {}\n", metric.name, metric.meaning)),
            "{}: {text}",
            metric.name
        );
    }
    let labels = r#"scope="billing/~of ours",class="leased""#;
    for line in [
        format!("ackonce_completed_total{{{labels}}} 2"),
        format!("ackonce_in_flight{{{labels}}} 0"),
        format!("ackonce_running{{{labels}}} 0"),
        format!("ackonce_handler_seconds_count{{{labels}}} 2"),
        format!("ackonce_end_to_end_seconds_count{{{labels}}} 2"),
        format!("ackonce_end_to_end_seconds_sum{{{labels}}} 3600."),
        format!("ackonce_store_seconds_count{{{labels},call=\"claim\"}} 3"),
        format!("ackonce_store_seconds_count{{{labels},call=\"settle\"}} 2"),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
}
