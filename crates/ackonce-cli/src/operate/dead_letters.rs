//! `ackonce dead-letters`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ackonce::adapter::{DeadLetter, LetterFilter, LettersMoved, Redrive};
use ackonce::{Error, chain};
use ackonce_relay::{LETTERS, LettersUrl, RelayUrlError};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::args::{ChangeArgs, change_limit, scope_of};
use super::confirm;
use super::ids::{clean, shown};
use super::list::brief;
use super::output::{self, Listing, OutputArgs, grouped};
use super::progress::Progress;
use super::times::{at, millis, span};
use crate::layers::{EffectiveSettings, Origin, Sources};
use crate::refusal::Refusal;

/// List the letters of a dead-letter topic or queue, or move them back to where they came from
#[derive(Debug, Args)]
#[command(after_long_help = help())]
pub struct DeadLettersArgs {
    /// List the letters, or redrive them
    #[arg(value_enum)]
    action: Action,
    /// The dead-letter topic or queue; the forms are below
    // Not parsed by clap, whose errors repeat the value.
    #[arg(long, value_name = "URL")]
    from: String,
    /// Only letters of this scope
    #[arg(long, value_name = "NAME")]
    scope: Option<String>,
    /// Only letters whose recorded reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason_contains: Option<String>,
    /// Only letters that were buried so long ago, such as 1h or 7d
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// The most letters to list (0 for all) or to redrive [default: list 100, redrive all]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Say how many letters would be moved to which place, and end
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    pub(super) sources: Sources,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Show the letters; nothing changes
    List,
    /// Publish the letters where they came from again; their consumers run them
    Redrive,
}

fn help() -> String {
    format!(
        "Dead-letter places:\n{LETTERS}\n\n\
         Examples:\n  \
         ackonce dead-letters list --from kafka://localhost:9092/orders.dead --reason-contains 'bank is away'\n  \
         ackonce dead-letters redrive --from 'amqp://guest:guest@localhost:5672/%2f?queue=orders.dead' \\\n    \
         --older-than 1h --reason 'the bank is back, ticket 4711' --dry-run\n\n\
         A letter is published with its identity and headers in the topic and partition, or in the queue, that it came from. It leaves \
         its place once that is confirmed: an offset of the group ackonce-dead-letters (or ?group=G) on Kafka, an acknowledgement on \
         RabbitMQ. Its consumer redrives the record and runs it once, with --actor and --reason in its audit line. A run that is \
         killed goes on where it was when it is started again; the second copy of a letter is a duplicate. Letters that lack a \
         part, and messages of others, stay. For list, --reason stands for --reason-contains. --json prints an object a line: place, \
         target, scope, id, reason, attempts, buried_at, age_ms, obstacle."
    )
}

pub(super) async fn run(args: &DeadLettersArgs, settings: &EffectiveSettings) -> Result<(), Refusal> {
    let wrong = |error: RelayUrlError| Refusal::usage(format!("--from: {error}"));
    let from: LettersUrl = args.from.parse().map_err(wrong)?;
    if let Some(scope) = &args.scope {
        scope_of(scope)?;
    }
    let mut filter = LetterFilter {
        scope: args.scope.clone(),
        reason: args.reason_contains.clone(),
        older_than: args.older_than,
    };
    match args.action {
        Action::List => {
            // Not the reason for changes that the environment may name.
            let is_flag = settings.get("reason").is_some_and(|setting| setting.origin == Origin::Flag);
            filter.reason = filter.reason.or_else(|| args.change.reason.clone().filter(|_| is_flag));
            list(args, &from, &filter).await
        }
        Action::Redrive => redrive(args, &from, filter).await,
    }
}

fn refused(from: &LettersUrl, error: &Error) -> Refusal {
    Refusal::environment(format!("--from {from}: {}", chain(error)))
}

async fn list(args: &DeadLettersArgs, from: &LettersUrl, filter: &LetterFilter) -> Result<(), Refusal> {
    let limit = match args.limit {
        Some(0) => u64::MAX,
        limit => limit.unwrap_or(100),
    };
    let (mut letters, mut is_cut) = (Vec::new(), false);
    let mut see = |letter| {
        is_cut = letters.len() as u64 >= limit;
        if !is_cut {
            letters.push(letter);
        }
        !is_cut
    };
    from.list(filter, &mut see).await.map_err(|error| refused(from, &error))?;
    LISTING.print(args.output, &letters, is_cut)
}

const LISTING: Listing<DeadLetter> = Listing {
    empty: "no letter\n",
    head: &["PLACE", "GOES BACK TO", "SCOPE", "ID", "ATTEMPTS", "BURIED", "REASON"],
    numbers: &[4],
    row,
    object,
};

fn age(letter: &DeadLetter) -> Option<Duration> {
    SystemTime::now().duration_since(letter.buried_at?).ok()
}

fn row(letter: &DeadLetter) -> Vec<String> {
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "?".to_owned(), clean);
    let target = match &letter.obstacle {
        None => text(&letter.target),
        Some(_) => "(stays)".to_owned(),
    };
    let reason = letter.obstacle.as_ref().or(letter.reason.as_ref());
    vec![
        clean(&letter.place),
        target,
        text(&letter.scope),
        letter.id.as_deref().map_or_else(|| "?".to_owned(), shown),
        letter.attempts.map(|n| n.to_string()).unwrap_or_default(),
        age(letter).map_or_else(|| "?".to_owned(), |age| format!("{} ago", span(age))),
        reason.map(|reason| brief(reason)).unwrap_or_default(),
    ]
}

fn object(letter: &DeadLetter) -> serde_json::Value {
    json!({
        "place": letter.place, "target": letter.target, "scope": letter.scope, "id": letter.id.as_deref().map(shown),
        "reason": letter.reason, "attempts": letter.attempts, "buried_at": letter.buried_at.map(at),
        "age_ms": age(letter).map(millis), "obstacle": letter.obstacle,
    })
}

async fn redrive(args: &DeadLettersArgs, from: &LettersUrl, filter: LetterFilter) -> Result<(), Refusal> {
    let note = if args.dry_run { None } else { Some(args.change.note()?) };
    let mut limit = change_limit(args.limit)?;
    let mut seen = Plan::default();
    if args.dry_run || !args.change.consent.yes {
        let plan = plan(from, &filter, limit).await?;
        let shown = plan.moved.values().sum();
        if args.dry_run && args.output.json {
            return output::json(&json!({"would_move": plan.moved, "kept": plan.kept, "stuck": plan.stuck}));
        }
        if args.dry_run {
            return output::text(&format!("{plan}\n"));
        }
        if !confirm::ask_of(shown, args.change.consent, &plan.to_string())? {
            return told(args, from, plan.without_a_move());
        }
        // Letters that have come since stand behind those that were shown.
        (limit, seen) = (shown, plan);
    }
    let Some(note) = note else { return Ok(()) };
    let mut progress = Progress::new("moved", (limit < u64::MAX).then_some(limit));
    let redrive = Redrive { filter, limit: (limit < u64::MAX).then_some(limit), note };
    let moved = from.redrive(&redrive, &mut |moved| progress.at(moved.moved)).await;
    progress.finish();
    let mut moved = moved.map_err(|error| refused(from, &error))?;
    // Behind the last letter that was moved there may be some that were seen before.
    moved.kept = moved.kept.max(seen.kept);
    if moved.stuck < seen.stuck {
        (moved.stuck, moved.first_obstacle) = (seen.stuck, moved.first_obstacle.or(seen.first_obstacle));
    }
    told(args, from, moved)
}

/// The letters that would be moved, by their target.
#[derive(Debug, Default)]
struct Plan {
    moved: BTreeMap<String, u64>,
    kept: u64,
    stuck: u64,
    first_obstacle: Option<String>,
}

impl Plan {
    /// The end of a run that moves nothing.
    fn without_a_move(self) -> LettersMoved {
        let Self { kept, stuck, first_obstacle, .. } = self;
        LettersMoved { kept, stuck, first_obstacle, ..LettersMoved::default() }
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let places: Vec<_> =
            self.moved.iter().map(|(place, number)| format!("{} to {place}", grouped(*number))).collect();
        match places.is_empty() {
            true => f.write_str("No letter would be moved")?,
            false => write!(f, "Letters would be moved: {}", places.join(", "))?,
        }
        write!(f, "; {} would stay", grouped(self.kept + self.stuck))?;
        if self.stuck > 0 {
            write!(f, ", {} of them because they cannot be moved", grouped(self.stuck))?;
        }
        Ok(())
    }
}

async fn plan(from: &LettersUrl, filter: &LetterFilter, limit: u64) -> Result<Plan, Refusal> {
    let (mut plan, mut seen) = (Plan::default(), 0);
    let mut see = |letter: DeadLetter| {
        match (letter.obstacle, letter.target) {
            (None, Some(target)) => {
                seen += 1;
                *plan.moved.entry(target).or_default() += 1;
            }
            (obstacle, _) => {
                plan.stuck += 1;
                plan.first_obstacle = plan.first_obstacle.take().or(obstacle);
            }
        }
        seen < limit
    };
    let others = from.list(filter, &mut see).await.map_err(|error| refused(from, &error))?;
    plan.kept = others;
    Ok(plan)
}

fn told(args: &DeadLettersArgs, from: &LettersUrl, moved: LettersMoved) -> Result<(), Refusal> {
    let LettersMoved { moved: number, kept, stuck, first_obstacle } = moved;
    if args.output.json {
        output::json(
            &json!({"moved": number, "kept": kept, "stuck": stuck, "first_obstacle": first_obstacle}),
        )?;
    } else {
        let mut text = format!("moved: {}\n", output::count(number, "letter"));
        if kept > 0 {
            text.push_str(&format!(
                "left in their place, for the filter does not choose them: {}\n",
                grouped(kept)
            ));
        }
        if let Some(group) = from.group() {
            text.push_str(&format!("the position is kept in the consumer group {group}\n"));
        }
        output::text(&text)?;
    }
    match first_obstacle {
        Some(why) => Err(Refusal::environment(format!(
            "{} could not be moved and stayed; the first: {why}",
            output::count(stuck, "letter")
        ))),
        None => Ok(()),
    }
}
