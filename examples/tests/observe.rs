//! The dashboard and the alert rules of `docs/observe`: their queries name metrics and labels that there are, and every
//! alert has its line in the runbooks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ackonce::adapter::metric::{Kind, METRICS, Metric};

/// Functions, aggregations and words of PromQL that the queries use.
const WORDS: [&str; 17] = [
    "and",
    "by",
    "deriv",
    "histogram_quantile",
    "increase",
    "max",
    "min",
    "min_over_time",
    "or",
    "rate",
    "sum",
    "vector",
    "clamp_min",
    "abs",
    "label_values",
    "unless",
    "avg",
];
/// Metrics that no panel shows: each counts the same as another, seen from nearer.
const UNSEEN: [&str; 2] = ["ackonce_amqp_channels_total", "ackonce_amqp_ack_frames_total"];

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).unwrap()
}

fn metrics() -> BTreeMap<&'static str, &'static Metric> {
    let all = [
        METRICS,
        ackonce_kafka::METRICS,
        ackonce_amqp::METRICS,
        ackonce_webhook::METRICS,
        ackonce_http::METRICS,
        ackonce_outbox::METRICS,
    ];
    all.into_iter().flatten().map(|metric| (metric.name, metric)).collect()
}

/// One token of a query: a name, a text, a duration or number, a mark.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text,
    Value(String),
    Mark(String),
}

fn tokens(query: &str) -> Vec<Token> {
    let (mut all, mut rest) = (Vec::new(), query.trim());
    while let Some(first) = rest.chars().next() {
        let until = |end: fn(char) -> bool| rest.find(end).unwrap_or(rest.len());
        let word = until(|c| !c.is_ascii_alphanumeric() && c != '_' && c != ':' && c != '.');
        let (token, length) = match first {
            '"' => (Token::Text, rest[1..].find('"').unwrap() + 2),
            '$' => {
                let end = rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                (Token::Value(rest.to_owned()), end.map_or(rest.len(), |end| end + 1))
            }
            _ if first.is_ascii_digit() => (Token::Value(rest[..word].to_owned()), word),
            _ if word > 0 => (Token::Name(rest[..word].to_owned()), word),
            _ => {
                let two = ["=~", "!~", "!=", "==", ">=", "<="].iter().find(|mark| rest.starts_with(**mark));
                let mark = two.map_or_else(|| first.to_string(), |mark| (*mark).to_owned());
                assert!("{}()[],=~!<>*/+-".contains(first), "{query}: the mark {mark}");
                (Token::Mark(mark.clone()), mark.len())
            }
        };
        all.push(token);
        rest = rest[length..].trim_start();
    }
    all
}

/// Reads a query; the metrics that it names.
fn read(query: &str) -> BTreeSet<String> {
    let (known, tokens) = (metrics(), tokens(query));
    let (mut open, mut named, mut grouped) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let (mut labels, mut last) = (BTreeSet::from(["le".to_owned()]), Vec::<&str>::new());
    let mark = |at: usize| match tokens.get(at) {
        Some(Token::Mark(mark)) => mark.as_str(),
        _ => "",
    };
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Mark(it) if ["(", "{", "["].contains(&it.as_str()) => {
                let before = at.checked_sub(1).and_then(|before| match &tokens[before] {
                    Token::Name(name) => Some(name.as_str()),
                    _ => None,
                });
                open.push((it.as_str(), before.unwrap_or_default()));
            }
            Token::Mark(it) if [")", "}", "]"].contains(&it.as_str()) => {
                let (opened, _) = open.pop().unwrap_or_else(|| panic!("{query}: {it} without its beginning"));
                assert!(
                    ["()", "{}", "[]"].contains(&format!("{opened}{it}").as_str()),
                    "{query}: {opened}{it}"
                );
            }
            Token::Name(name) => match open.last() {
                Some(("{", of)) => {
                    assert!(["=", "=~", "!=", "!~"].contains(&mark(at + 1)), "{query}: {name} is compared");
                    let is_label = *of == "up" || last.contains(&name.as_str());
                    assert!(is_label, "{query}: {of} has no label {name}");
                }
                Some(("(", "by")) => drop(grouped.insert(name.clone())),
                Some(("(", "label_values")) if mark(at + 1) == ")" => drop(grouped.insert(name.clone())),
                _ if WORDS.contains(&name.as_str()) || name == "up" => {
                    labels.extend((name == "up").then(|| "instance".to_owned()));
                }
                around => {
                    let (metric, function) = (metric(&known, name, query), around.map_or("", |(_, of)| *of));
                    let counts = metric.kind != Kind::Gauge && function != "label_values";
                    assert_eq!(
                        counts,
                        ["rate", "increase"].contains(&function),
                        "{query}: {function}({name})"
                    );
                    labels.extend(metric.labels.iter().map(|label| (*label).to_owned()));
                    last = metric.labels.to_vec();
                    named.insert(metric.name.to_owned());
                }
            },
            _ => {}
        }
    }
    assert!(open.is_empty(), "{query}: an open bracket");
    assert!(grouped.is_subset(&labels), "{query}: groups by {:?}", grouped.difference(&labels));
    assert_eq!(query.contains("histogram_quantile"), grouped.contains("le"), "{query}: quantiles are by le");
    named
}

/// The metric of that name; a histogram's has `_bucket`, `_sum` or `_count` behind it.
fn metric(known: &BTreeMap<&'static str, &'static Metric>, name: &str, query: &str) -> &'static Metric {
    let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    let histogram = stem.and_then(|stem| known.get(stem)).filter(|metric| metric.kind == Kind::Histogram);
    let plain = known.get(name).filter(|metric| metric.kind != Kind::Histogram);
    histogram.or(plain).unwrap_or_else(|| panic!("{query}: there is no metric {name}"))
}

/// The texts under `name`, at any depth.
fn all_of<'a>(value: &'a serde_json::Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(fields) => {
            found.extend(fields.get(name).and_then(serde_json::Value::as_str));
            fields.values().for_each(|value| all_of(value, name, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|value| all_of(value, name, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_every_metric_by_its_own_name_and_labels() {
    let dashboard: serde_json::Value = serde_json::from_str(&page("observe/dashboard.json")).unwrap();
    let (mut queries, mut shown) = (Vec::new(), BTreeSet::new());
    all_of(&dashboard, "expr", &mut queries);
    all_of(&dashboard, "definition", &mut queries);
    assert!(queries.len() > 40, "{}", queries.len());
    queries.iter().for_each(|query| shown.extend(read(query)));
    let unseen: Vec<_> =
        metrics().into_keys().filter(|name| !shown.contains(*name) && !UNSEEN.contains(name)).collect();
    assert!(unseen.is_empty(), "no panel shows {unseen:?}");
}

/// `name: value` of each rule, in order; the first one is `alert`.
fn rules() -> Vec<BTreeMap<String, String>> {
    let mut all: Vec<BTreeMap<String, String>> = Vec::new();
    for line in page("observe/alerts.yml").lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name == "- alert" {
            all.push(BTreeMap::new());
        }
        if let Some(rule) = all.last_mut() {
            let twice =
                rule.insert(name.trim_start_matches("- ").to_owned(), value.trim_matches('"').to_owned());
            assert_eq!(twice, None, "{name} twice in {rule:?}");
        }
    }
    all
}

#[test]
fn every_alert_asks_for_metrics_that_there_are_and_has_its_runbook() {
    let (rules, runbooks) = (rules(), page("operations.md"));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        text.chars()
            .filter(|c| c.is_alphanumeric() || " -".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    };
    let anchors: BTreeSet<_> = runbooks.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    assert!(rules.len() > 25, "{}", rules.len());
    let mut names = BTreeSet::new();
    for rule in &rules {
        let (name, query, summary) = (&rule["alert"], &rule["expr"], &rule["summary"]);
        assert!(names.insert(name), "{name} is there twice");
        assert!(!read(query).is_empty() || query.starts_with("up{"), "{name}");
        assert!(["{severity: page}", "{severity: ticket}"].contains(&rule["labels"].as_str()), "{name}");
        let runbook = rule["runbook"].strip_prefix("docs/operations.md#").unwrap();
        assert!(anchors.contains(runbook), "{name}: docs/operations.md has no section #{runbook}");
        let row = runbooks.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        assert!(
            row.is_some_and(|row| row.contains(&format!("(#{runbook})"))),
            "{name}: no line in docs/operations.md"
        );
        for label in summary.split("$labels.").skip(1) {
            let label = label.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
            let is_kept = query.contains(&format!("{label},"))
                || query.contains(&format!("{label})"))
                || label == "instance";
            assert!(is_kept, "{name}: its summary names {label}, which the query does not keep");
        }
    }
}

#[test]
fn a_query_with_a_wrong_name_is_found() {
    for wrong in [
        "rate(ackonce_nothing_total[5m])",
        "ackonce_run_total",
        "rate(ackonce_in_flight[5m])",
        "sum by (topic) (rate(ackonce_run_total[5m]))",
        "rate(ackonce_run_total{topic=\"a\"}[5m])",
        "sum(rate(ackonce_run_total[5m])",
        "histogram_quantile(0.9, sum by (scope) (rate(ackonce_handler_seconds_bucket[5m])))",
        "rate(ackonce_handler_seconds[5m])",
    ] {
        let read = std::panic::catch_unwind(|| read(wrong));
        assert!(read.is_err(), "{wrong}");
    }
    assert_eq!(read("sum by (scope) (ackonce_in_flight{scope=~\"a\"})").len(), 1);
}
