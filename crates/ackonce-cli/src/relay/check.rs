//! `--check`: the effective settings with their origins, the class, and everything that weakens it.

use std::fmt::Write as _;
use std::time::Duration;

use ackonce::{CancellationToken, Class, Order};
use ackonce_relay::{Relay, redacted};

use super::args::Parsed;
use super::{RelayArgs, build};
use crate::layers::EffectiveSettings;
use crate::refusal::Refusal;
use crate::stores::Opened;
use crate::streams;

pub(super) async fn check(
    args: &RelayArgs,
    parsed: Parsed,
    settings: &EffectiveSettings,
) -> Result<(), Refusal> {
    // The store knows its own weaknesses, so it is opened; source and sink are not.
    let store = super::store(args, "--store", &parsed.store, &CancellationToken::new()).await?;
    let Some(store) = store else { return Ok(()) };
    streams::print(&told(parsed, &store, settings)?)
}

/// The report on a relay of that store.
pub(super) fn told(parsed: Parsed, store: &Opened, settings: &EffectiveSettings) -> Result<String, Refusal> {
    let (to, scope) = (parsed.to.to_string(), parsed.scope.name().to_owned());
    let relay = build(parsed, store)?;
    Ok(report(&relay, settings, &to, &scope))
}

/// The settings, a line each; `effective` has the values of those that nobody has set.
pub(super) fn table(settings: &EffectiveSettings, to: &str, effective: &[(&str, String)]) -> String {
    let rows: Vec<_> = settings
        .iter()
        .map(|setting| {
            let known = effective.iter().find(|(name, _)| *name == setting.name);
            let value = match (setting.name.as_str(), known) {
                // Arguments of a program may be secrets.
                ("to", _) => to.to_owned(),
                (_, Some((_, value))) if setting.value.is_empty() => value.clone(),
                (_, None) if setting.value.is_empty() => "(none)".to_owned(),
                _ => redacted(&setting.value),
            };
            (setting.name.clone(), value, setting.origin.to_string())
        })
        .collect();
    let width = |of: fn(&(String, String, String)) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (name, value) = (width(|row| row.0.len()), width(|row| row.1.len()).min(40));
    let mut text = String::new();
    for row in &rows {
        let _ = writeln!(text, "{:name$}  {:value$}  {}", row.0, row.1, row.2);
    }
    text
}

fn report(relay: &Relay, settings: &EffectiveSettings, to: &str, scope: &str) -> String {
    let mut text = table(settings, to, &effective(relay, scope));
    let class = relay.class();
    let _ = writeln!(text, "\nclass {class}: {}", class.promise());
    if class == Class::Keyed {
        let _ = writeln!(
            text,
            "keyed: the sink must honour the idempotency key; if it does not, choose --class leased"
        );
    }
    for weakness in relay.weaknesses() {
        let _ = writeln!(text, "weakened: {weakness}");
    }
    for sentence in settings.misspelt() {
        let _ = writeln!(text, "note: {sentence}");
    }
    text
}

/// The values of settings that nobody has set.
fn effective(relay: &Relay, scope: &str) -> Vec<(&'static str, String)> {
    let settings = relay.settings();
    let time = |time: Duration| humantime::format_duration(time).to_string();
    vec![
        ("scope", scope.to_owned()),
        ("class", relay.class().to_string()),
        ("lease", time(settings.lease)),
        ("window", time(settings.window)),
        ("attempts", settings.attempts.to_string()),
        ("backoff", format!("{}..{}", time(settings.backoff.min), time(settings.backoff.max))),
        ("concurrency", settings.concurrency.to_string()),
        ("id", relay.id_places()),
        ("order", order(&relay.order()).to_owned()),
    ]
}

fn order(order: &Order) -> &'static str {
    match order {
        Order::Key | Order::Header(_) => "key",
        Order::Source => "partition",
        Order::Unordered => "none",
    }
}
