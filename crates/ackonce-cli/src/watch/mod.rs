//! `ackonce watch`: a running program or a store in the terminal.

mod events;
mod screen;
mod source;
mod terminal;
mod view;

use std::time::Duration;

use ackonce::{CancellationToken, shutdown_on_signals};
use ackonce_console::snapshot::Snapshot;
use ackonce_console::{Console, ConsoleOptions};
use clap::Args;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use crate::admin::token;
use crate::layers::{EffectiveSettings, Sources};
use crate::refusal::Refusal;
use crate::stores::{Place, StoreUrl};
use crate::streams;
use source::{AdminPlace, Source};
use view::View;

/// The longest that `--once` waits for the store's answer; then it shows the state without one.
const ONCE: Duration = Duration::from_secs(10);
/// The size of `--once`.
const PAGE: (u16, u16) = (100, 30);

const EXAMPLES: &str = "\
Examples:
  ackonce watch --admin 9090                           the relay or proxy that was started with --admin 9090
  ackonce watch --store postgres://app@db/app          a store, whichever programs use it
  ackonce watch --admin 9090 --once --json | jq .running.total
  ackonce watch --store sqlite:dedup.db --json         a line of JSON each second

Keys: q ends, p pauses, ? shows the keys.

Exit code: 0 after q, SIGTERM or SIGINT; 2 for a wrong setting; 3 if the program, the store or a terminal is missing.";

/// Watch a running program or a store in the terminal: rates, duplicates, running messages with their age, buried, lag
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct WatchArgs {
    /// Watch the program that serves --admin there: PORT, HOST:PORT or http://HOST:PORT/PATH/
    // Not parsed by clap, whose errors repeat the value.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
    /// Watch this store: sqlite:PATH, redis://…, postgres://…
    #[arg(long, value_name = "URL")]
    pub store: Option<StoreUrl>,
    /// The place of the token that the console at --admin asks for: env:NAME or file:PATH
    #[arg(long, value_name = "env:NAME|file:PATH")]
    pub console_token: Option<String>,
    /// Print the state once, and end
    #[arg(long)]
    pub once: bool,
    /// Print JSON for scripts: a line each second, or one with --once
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment would take the place of the program's description")]
    pub sources: Sources,
}

/// Watches until somebody ends it.
///
/// # Errors
/// [`Refusal`].
pub fn run(args: &WatchArgs, settings: &EffectiveSettings) -> Result<(), Refusal> {
    let place = args.place()?;
    if args.sources.check {
        return streams::print(&format!("{settings}\n"));
    }
    if !args.once && !args.json && !terminal::is_there() {
        return Err(Refusal::environment(
            "the output is no terminal; print the state with --once, or lines for scripts with --json",
        ));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Refusal::environment(format!("the runtime could not be started: {e}")))?;
    let ended = runtime.block_on(async {
        let stop = shutdown_on_signals()
            .map_err(|e| Refusal::environment(format!("the signal handlers could not be installed: {e}")))?;
        let source = place.open(&stop).await?;
        match (args.once, args.json) {
            (true, json) => once(source, json).await,
            (false, true) => lines(source, &stop).await,
            (false, false) => terminal::show(source, &stop).await,
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// One of the two.
enum Watched {
    Admin(AdminPlace),
    Store(StoreUrl),
}

impl WatchArgs {
    fn place(&self) -> Result<Watched, Refusal> {
        let token = self.console_token.as_deref().map(token).transpose()?;
        match (&self.admin, &self.store) {
            (Some(admin), None) => {
                let place = AdminPlace::parse(admin, token);
                place.map(Watched::Admin).map_err(|why| Refusal::usage(format!("--admin: {why}")))
            }
            (None, Some(_)) if token.is_some() => {
                Err(Refusal::usage("--console-token is for the console at --admin, which is not set"))
            }
            (None, Some(store)) if matches!(store.place(), Place::Memory) => Err(Refusal::usage(
                "--store memory: is in the process that uses it; watch that with --admin, or name another store",
            )),
            (None, Some(store)) => Ok(Watched::Store(store.clone())),
            (Some(_), Some(_)) => Err(Refusal::usage("--admin and --store are both set; watch one of them")),
            (None, None) => Err(Refusal::usage(
                "nothing to watch; name a running program with --admin ADDRESS, or a store with --store URL",
            )),
        }
    }
}

impl Watched {
    async fn open(self, stop: &CancellationToken) -> Result<Source, Refusal> {
        match self {
            Self::Admin(place) => {
                let stream = Some(place.connect().await?);
                Ok(Source::Admin { place, stream })
            }
            Self::Store(url) => {
                let opened = url.open_existing("--store").await?;
                let console = Console::start(opened.inspect(), ConsoleOptions::default(), stop.clone());
                Ok(Source::Store(Box::new(console.snapshots())))
            }
        }
    }
}

/// The state once the store has answered.
async fn once(mut source: Source, json: bool) -> Result<(), Refusal> {
    let mut last = None;
    let answered = async {
        while let Some(looked) = source.next().await {
            let state = looked.map_err(|why| Refusal::environment(format!("--admin: {why}")))?;
            let is_whole = state.store.answer.is_some() || state.store.trouble.is_some();
            last = Some(state);
            if is_whole {
                break;
            }
        }
        Ok(())
    };
    if let Ok(ended) = tokio::time::timeout(ONCE, answered).await {
        ended?;
    }
    let state = last.ok_or_else(|| Refusal::environment("the console has told no state"))?;
    match json {
        true => print(&line(&state)?),
        false => print(&page(state)?),
    }
}

/// A line for each state.
async fn lines(mut source: Source, stop: &CancellationToken) -> Result<(), Refusal> {
    while let Some(Some(looked)) = stop.run_until_cancelled(source.next()).await {
        match looked {
            Ok(state) => print(&line(&state)?)?,
            Err(why) => streams::note(why),
        }
    }
    Ok(())
}

fn line(state: &Snapshot) -> Result<String, Refusal> {
    serde_json::to_string(state).map_err(|e| Refusal::environment(format!("the state is no JSON: {e}")))
}

/// The screen as text.
fn page(state: Box<Snapshot>) -> Result<String, Refusal> {
    let mut view = View::default();
    view.take(Ok(state));
    let Ok(mut terminal) = Terminal::new(TestBackend::new(PAGE.0, PAGE.1));
    let Ok(_) = terminal.draw(|frame| screen::draw(frame, &view));
    let lines = terminal.backend().buffer().content.chunks(usize::from(PAGE.0));
    let lines = lines.map(|cells| cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>());
    // The last line is about keys.
    let lines: Vec<_> = lines.take(usize::from(PAGE.1) - 1).map(|line| line.trim_end().to_owned()).collect();
    Ok(lines.join("\n").trim_end().to_owned())
}

/// A reader that has gone ends it, too.
fn print(text: &str) -> Result<(), Refusal> {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Refusal::environment(format!("the output cannot be written: {error}"))),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
