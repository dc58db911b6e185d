//! `ackonce show`.

use std::fmt::Write as _;

use ackonce::Key;
use ackonce::store::{AuditEntry, Entry, Record, State, explain};
use clap::Args;
use serde_json::json;

use super::args::{MessageArgs, StoreArgs, refused};
use super::ids::{clean, shown};
use super::list;
use super::output::{self, OutputArgs};
use super::times::{millis, of_fence, span};
use crate::refusal::Refusal;

/// Steps that are shown.
const STEPS: usize = 8;
/// The longest part of an outcome that is shown, in bytes.
const OUTCOME: usize = 400;

/// Show the record of one message, and why the message was skipped
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    ackonce show evt_1 --scope billing/charge --store redis://localhost\n  \
    ackonce show hex:00ff --scope billing/charge --store sqlite:dedup.db --json\n\n\
    The exit code is 0 for a message without a record, too: that is an answer. --json prints one object: scope, id, record (null, \
    or as in list), outcome, steps (name, version, outcome), audit (operation, actor, reason, before, age_ms) and answer.")]
pub struct ShowArgs {
    #[command(flatten)]
    message: MessageArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &ShowArgs) -> Result<(), Refusal> {
    let key = args.message.key()?;
    let store = args.store.inspect().await?;
    let entry = store.look(&key).await.map_err(|error| refused(&error))?;
    let audit = store.audit(&key).await.map_err(|error| refused(&error))?;
    match args.output.json {
        true => output::json(&object(&key, entry.as_ref(), &audit)),
        false => output::text(&screen(&key, entry.as_ref(), &audit)),
    }
}

fn object(key: &Key, entry: Option<&Entry>, audit: &[AuditEntry]) -> serde_json::Value {
    let changes: Vec<_> = audit
        .iter()
        .map(|by| {
            json!({
                "operation": by.operation, "actor": by.actor, "reason": by.reason, "before": by.before.as_str(),
                "age_ms": millis(by.age),
            })
        })
        .collect();
    let steps = entry.and_then(|entry| entry.record.steps().ok()).unwrap_or_default();
    let steps: Vec<_> = steps
        .iter()
        .map(|step| json!({"name": step.name, "version": step.version, "outcome": shown(&step.outcome)}))
        .collect();
    json!({
        "scope": key.scope().name(),
        "id": shown(key.id()),
        "record": entry.map(list::object),
        "outcome": entry.and_then(|entry| entry.record.outcome.as_deref()).map(shown),
        "steps": steps,
        "audit": changes,
        "answer": explain(entry, audit),
    })
}

fn screen(key: &Key, entry: Option<&Entry>, audit: &[AuditEntry]) -> String {
    let mut text = format!("{}\n\n", wrapped(&clean(&explain(entry, audit))));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<11}  {value}");
    };
    line("scope", clean(key.scope().name()));
    line("ID", shown(key.id()));
    let Some(entry) = entry else {
        changes(&mut text, audit);
        return text;
    };
    let record = &entry.record;
    line("state", state(entry));
    line("attempts", record.attempt.to_string());
    line("last claim", format!("{} ({} ago)", of_fence(record.fence), span(record.age)));
    line("fence", record.fence.to_string());
    match record.state {
        State::Claimed if !entry.free_in.is_zero() => {
            line("lease ends", format!("in {}", span(entry.free_in)))
        }
        State::Released if !entry.free_in.is_zero() => {
            line("back-off", format!("ends in {}", span(entry.free_in)));
        }
        _ => {}
    }
    if let Some(reason) = &record.reason {
        line("reason", clean(reason));
    }
    if record.state == State::Done {
        line("outcome", record.outcome.as_deref().map_or_else(|| "none kept".to_owned(), outcome));
    }
    if let Some(print) = record.fingerprint {
        line("payload", format!("fingerprint {}", ackonce::adapter::hex(&print.0)));
    }
    steps(&entry.record, &mut line);
    line("expires", format!("in {}", span(entry.expires_in)));
    line("not kept", "the first run of several, and the worker's name".to_owned());
    changes(&mut text, audit);
    text
}

/// The finished steps of a message that is not done.
fn steps(record: &Record, line: &mut impl FnMut(&str, String)) {
    match record.steps() {
        Ok(all) => {
            for (n, step) in all.iter().take(STEPS).enumerate() {
                let name = if n == 0 { "steps done" } else { "" };
                line(name, format!("{}: {}", clean(&step.name), outcome(&step.outcome)));
            }
            if all.len() > STEPS {
                line("", format!("and {} more: --json has all", all.len() - STEPS));
            }
        }
        Err(error) => line("steps done", format!("(not readable: {})", ackonce::chain(&error))),
    }
}

fn state(entry: &Entry) -> String {
    let more = match entry.record.state {
        State::Claimed if entry.free_in.is_zero() => " (its lease is over)",
        State::Claimed => " (a worker holds it)",
        State::Released if entry.free_in.is_zero() => " (its next delivery runs)",
        State::Released => " (it waits for its back-off)",
        State::Done => " (it took effect)",
        State::Buried => " (it was given up)",
    };
    format!("{}{more}", entry.record.state.as_str())
}

/// The beginning of an outcome, with all that a terminal would not show escaped.
fn outcome(bytes: &[u8]) -> String {
    let (part, more) = match bytes.len() > OUTCOME {
        true => (&bytes[..OUTCOME], format!("… ({})", output::bytes(bytes.len() as u64))),
        false => (bytes, String::new()),
    };
    format!("{}{more}", part.escape_ascii())
}

fn changes(text: &mut String, audit: &[AuditEntry]) {
    for (n, by) in audit.iter().enumerate() {
        let name = if n == 0 { "by hand" } else { "" };
        let (actor, reason) = (clean(&by.actor), clean(&by.reason));
        let (operation, before, ago) = (clean(&by.operation), by.before.as_str(), span(by.age));
        let _ =
            writeln!(text, "{name:<11}  {operation} by {actor} {ago} ago, when it was {before}: {reason}");
    }
}

/// Text in lines of a terminal's width.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 100;
    let (mut lines, mut width) = (String::new(), 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > WIDTH {
            lines.push('\n');
            width = 0;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines
}
