//! `ackonce console`: the console of a store, without a program that uses it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use ackonce::{CancellationToken, shutdown_on_signals};
use ackonce_console::Console;
use clap::Args;
use http::Request;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tower_service::Service as _;

use crate::admin::{ConsoleArgs, accept, parse_address};
use crate::layers::{EffectiveSettings, Sources};
use crate::log::{self, LogArgs};
use crate::refusal::Refusal;
use crate::stores::{Place, StoreUrl};
use crate::streams;

const EXAMPLES: &str = "\
Examples:
  ackonce console --store sqlite:/var/lib/app/dedup.db
  ackonce console --store postgres://app@db/app --allow-writes --listen 127.0.0.1:7171
  CONSOLE_TOKEN=$(openssl rand -hex 20) ackonce console --store redis://cache --listen 0.0.0.0:7070 \\
      --console-token env:CONSOLE_TOKEN

The relay and the proxy serve the console of their own store, with their running messages and rates, on --admin.

Exit code: 0 after SIGTERM or SIGINT; 2 for a wrong setting; 3 if the store, the port or the token is missing.";

/// Serve a page for operators of a store: records, dead letters, search by ID, redrive and forget
///
/// It listens on this host alone unless told otherwise, and only reads unless --allow-writes is set.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConsoleVerb {
    /// The store to show: sqlite:PATH, redis://…, postgres://…
    #[arg(long, value_name = "URL")]
    pub store: StoreUrl,
    /// Serve the page there; `7070` is 127.0.0.1:7070
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070", value_parser = parse_address)]
    pub listen: SocketAddr,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment would take the place of the program's description")]
    pub console: ConsoleArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "as above")]
    pub log: LogArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "as above")]
    pub sources: Sources,
}

/// Serves until SIGTERM or SIGINT; with `--check` prints the settings and ends.
///
/// # Errors
/// [`Refusal`].
pub fn run(args: &ConsoleVerb, settings: &EffectiveSettings) -> Result<(), Refusal> {
    if matches!(args.store.place(), Place::Memory) {
        return Err(Refusal::usage(
            "--store memory: is in the process that uses it, which has a console of its own on --admin; name another store",
        ));
    }
    let options = args.console.options()?;
    if !args.listen.ip().is_loopback() && options.token.is_none() {
        return Err(Refusal::usage(format!(
            "--listen: other hosts reach {}; ask for a token with --console-token, or choose a loopback address such as \
             127.0.0.1:{}",
            args.listen,
            args.listen.port()
        )));
    }
    if args.sources.check {
        return streams::print(&format!("{settings}\n"));
    }
    log::start(args.log)?;
    for sentence in settings.misspelt() {
        tracing::warn!(target: "ackonce", "{sentence}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|e| Refusal::environment(format!("the runtime could not be started: {e}")))?;
    let ended = runtime.block_on(async {
        let stop = shutdown_on_signals()
            .map_err(|e| Refusal::environment(format!("the signal handlers could not be installed: {e}")))?;
        serve(args, options, stop).await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(
    args: &ConsoleVerb,
    options: ackonce_console::ConsoleOptions,
    stop: CancellationToken,
) -> Result<(), Refusal> {
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        Refusal::environment(format!(
            "--listen: {} cannot be listened on ({error}); choose another port, or end the program that has it",
            args.listen
        ))
    })?;
    let store = args.store.open_existing("--store").await?;
    let writes = options.writes;
    let router = Console::start(store.inspect(), options, stop.clone()).router();
    let address =
        listener.local_addr().map_or_else(|_| args.listen.to_string(), |address| address.to_string());
    tracing::info!(target: "ackonce", store = %args.store, ?writes, "the console is at http://{address}/");
    let answer = move |request: Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let answered: Result<_, Infallible> = router.call(request).await;
            answered.unwrap_or_else(|never| match never {})
        }
    };
    accept(listener, answer, stop).await;
    Ok(())
}
