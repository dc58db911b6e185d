//! `ackonce redrive`.

use std::time::Instant;

use ackonce::Key;
use ackonce::store::{AdminOutcome, Entry, Filter, Inspect, Note, Query, RecordTarget, State};
use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::args::{ChangeArgs, FilterArgs, StoreArgs, change_limit, filter_words, key, refused};
use super::confirm;
use super::ids::{MessageId, shown};
use super::list::{self, PAGE};
use super::output::{self, OutputArgs};
use super::progress::Progress;
use crate::refusal::Refusal;

/// Records that are changed at once.
const AT_ONCE: usize = 64;

/// Let buried messages run once more: one by its ID, or those that a filter chooses
///
/// A record is redriven; the broker has to deliver its message again. Where there are dead letters, `ackonce dead-letters redrive`
/// does both.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    ackonce redrive evt_1 --scope billing/charge --store redis://localhost --reason 'the bank is back'\n  \
    ackonce redrive --scope billing/charge --reason-contains 'bank is away' --older-than 1h --store sqlite:dedup.db \\\n    \
    --reason 'the bank is back, ticket 4711' --dry-run\n\n\
    --reason is the reason of this change; --reason-contains chooses records by theirs. A filter chooses buried records unless \
    --state says otherwise. Each change is one line of the audit trail. A run that is killed goes on where it was when it is \
    started again: records that were redriven are not buried any more. A record that is claimed, redriven or buried anew \
    meanwhile is left alone.")]
pub struct RedriveArgs {
    /// Message ID: text, or bytes as hex:… or base64:…; without it, all records that the filter chooses
    #[arg(value_name = "ID", conflicts_with_all = ["all", "reason_contains", "older_than", "state", "limit"])]
    id: Option<MessageId>,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// Scope of the message, or only records of this scope
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// Only records whose recorded reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason_contains: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// All buried records of the store
    #[arg(long)]
    all: bool,
    /// The most records to redrive
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Say how many records would be redriven, and end
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: &RedriveArgs) -> Result<(), Refusal> {
    match &args.id {
        Some(id) => {
            let scope = args.scope.as_deref().ok_or_else(|| {
                Refusal::usage("--scope: an ID is one of a scope; name it, as the consumer does")
            })?;
            one(args, &key(scope, id)?).await
        }
        None => many(args).await,
    }
}

/// The refusal of a message that a worker holds.
pub(super) fn in_flight(key: &Key) -> Refusal {
    Refusal::environment(format!(
        "message {} of scope {} is in flight: a worker holds it; try again once its lease is over (ackonce show)",
        shown(key.id()),
        key.scope().name()
    ))
}

/// The record that the operator has seen, under its names. A change of it does nothing if it has changed since.
pub(super) fn named(key: &Key, entry: Entry) -> Entry {
    let (scope, id) = (key.scope().name().into(), key.id().to_vec().into());
    Entry { scope: Some(scope), id: Some(id), ..entry }
}

async fn one(args: &RedriveArgs, key: &Key) -> Result<(), Refusal> {
    let note = if args.dry_run { None } else { Some(args.change.note()?) };
    let store = args.store.inspect().await?;
    let entry = store.look(key).await.map_err(|error| refused(&error))?;
    let outcome = match (entry, note) {
        (None, None) if args.output.json => return would(args, 0, ""),
        (None, _) => AdminOutcome::Nothing,
        (Some(entry), _) if entry.record.state == State::Claimed && !entry.free_in.is_zero() => {
            return Err(in_flight(key));
        }
        (Some(entry), note) => {
            let change = change_of(key, &entry);
            let Some(note) = note else { return would(args, 1, &change) };
            confirm::ask(args.change.consent, &change)?;
            let shown = named(key, entry);
            store.redrive(RecordTarget::Listed(&shown), &note).await.map_err(|error| refused(&error))?
        }
    };
    let (id, scope) = (shown(key.id()), key.scope().name());
    if outcome == AdminOutcome::InFlight {
        return Err(in_flight(key));
    }
    if args.output.json {
        return output::json(&json!({"scope": scope, "id": id, "redriven": outcome == AdminOutcome::Yes}));
    }
    output::text(&match outcome {
        AdminOutcome::Yes => format!("redriven: {id} of scope {scope}; it runs at its next delivery\n"),
        _ => format!("nothing to redrive: ackonce show {id} --scope {scope} says why\n"),
    })
}

fn change_of(key: &Key, entry: &Entry) -> String {
    let (id, scope) = (shown(key.id()), key.scope().name());
    match entry.record.state {
        State::Done => {
            format!(
                "Message {id} of scope {scope} is done: redriven, its effect happens again at its next delivery"
            )
        }
        state => format!(
            "Message {id} of scope {scope} is {}: redriven, it runs at its next delivery",
            state.as_str()
        ),
    }
}

/// The end of a dry run.
fn would(args: &RedriveArgs, found: u64, change: &str) -> Result<(), Refusal> {
    match args.output.json {
        true => output::json(&json!({"would_redrive": found})),
        false => output::text(&format!("{change}\n")),
    }
}

async fn many(args: &RedriveArgs) -> Result<(), Refusal> {
    let mut filter = args.filter.filter(args.scope.as_ref(), args.reason_contains.as_ref())?;
    if filter == Filter::default() && !args.all {
        return Err(Refusal::usage(
            "there is neither an ID nor a filter: add --scope, --reason-contains, --older-than or --state, or --all for all \
             buried records",
        ));
    }
    filter.state.get_or_insert(State::Buried);
    if filter.state == Some(State::Claimed) {
        return Err(Refusal::usage(
            "--state: a claimed message is not redriven; it runs again by itself once its lease is over",
        ));
    }
    let note = if args.dry_run { None } else { Some(args.change.note()?) };
    let store = args.store.inspect().await?;
    let query = Query { filter, limit: PAGE, after: None };
    let limit = change_limit(args.limit)?;
    let words = filter_words(&query.filter);
    // What was claimed since is not shown to anybody.
    let (start, mut total) = (Instant::now(), None);
    if note.is_none() || !args.change.consent.yes {
        let found = list::count(&*store, &query, limit).await?;
        total = Some(found);
        let change = change_of_many(&query.filter, found, &words);
        if note.is_none() {
            return would(args, found, &change);
        }
        if !confirm::ask_of(found, args.change.consent, &change)? {
            return told(args, Done::default());
        }
    }
    let Some(note) = note else { return Ok(()) };
    told(args, walk(&*store, query, (limit, start), &note, Progress::new("redriven", total)).await?)
}

fn told(args: &RedriveArgs, done: Done) -> Result<(), Refusal> {
    if args.output.json {
        let Done { redriven, changed, in_flight } = done;
        return output::json(&json!({"redriven": redriven, "changed": changed, "in_flight": in_flight}));
    }
    let mut text = format!("redriven: {}\n", output::count(done.redriven, "record"));
    for (number, why) in [
        (done.changed, "left alone, for they changed meanwhile"),
        (done.in_flight, "left alone, for a worker holds them"),
    ] {
        if number > 0 {
            text.push_str(&format!("{why}: {}\n", output::grouped(number)));
        }
    }
    output::text(&text)
}

fn change_of_many(filter: &Filter, found: u64, words: &str) -> String {
    let again = match filter.state {
        Some(State::Done) => "their effects happen again at their next deliveries",
        _ => "they run at their next deliveries",
    };
    format!("{} {words} would be redriven: {again}", output::grouped(found))
}

#[derive(Debug, Default)]
struct Done {
    redriven: u64,
    changed: u64,
    in_flight: u64,
}

/// Redrives the records that the query finds. A record that was claimed since the start is a new burial: it is left alone, or
/// a message whose cause is not mended would go in circles.
async fn walk(
    store: &dyn Inspect,
    mut query: Query,
    (limit, start): (u64, Instant),
    note: &Note,
    mut progress: Progress,
) -> Result<Done, Refusal> {
    let mut done = Done::default();
    loop {
        let page = store.list(&query).await.map_err(|error| refused(&error))?;
        let room = usize::try_from(limit.saturating_sub(done.redriven)).unwrap_or(usize::MAX);
        let since = start.elapsed();
        let old: Vec<&Entry> =
            page.entries.iter().filter(|entry| entry.record.age >= since).take(room).collect();
        let mut changes = stream::iter(old)
            .map(|entry| store.redrive(RecordTarget::Listed(entry), note))
            .buffer_unordered(AT_ONCE);
        while let Some(outcome) = changes.next().await {
            match outcome.map_err(|error| refused(&error))? {
                AdminOutcome::Yes => done.redriven += 1,
                AdminOutcome::Nothing => done.changed += 1,
                AdminOutcome::InFlight => done.in_flight += 1,
            }
            progress.at(done.redriven);
        }
        drop(changes);
        match page.next {
            Some(next) if done.redriven < limit => query.after = Some(next),
            _ => break,
        }
    }
    progress.finish();
    Ok(done)
}
