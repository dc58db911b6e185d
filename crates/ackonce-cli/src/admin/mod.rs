//! The server of `--admin`: `/metrics`, `/healthz` and `/readyz` for monitors and probes, and the console for people.
//!
//! It has a thread and a runtime of its own, so that it answers, and can say that nothing moves, while the program's own
//! runtime is stuck.

mod address;
mod connections;
mod console_args;
mod metrics;
mod pulse;
mod serve;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};

use ackonce::store::Inspect;
use ackonce::{Activity, CancellationToken};
use ackonce_console::snapshot::ProgramView;
use ackonce_console::{Console, ConsoleOptions, Program};
use clap::{ArgAction, Args};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Handle;

use crate::refusal::Refusal;
pub(crate) use address::parse as parse_address;
pub(crate) use connections::accept;
pub use console_args::ConsoleArgs;
pub(crate) use console_args::token;
pub use pulse::Pulse;
use serve::Page;

/// Flags of the server.
#[derive(Debug, Clone, Copy, Args)]
pub struct AdminArgs {
    /// Serve the console, /metrics (Prometheus), /healthz (it makes progress) and /readyz (it takes work) there; `9090`
    /// is 127.0.0.1:9090
    #[arg(long, value_name = "ADDRESS", value_parser = address::parse)]
    pub admin: Option<SocketAddr>,
    /// Let --admin be an address that other hosts reach; nothing asks for a password there, but the console needs
    /// --console-token
    #[arg(long, value_name = "true|false", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", hide_default_value = true)]
    pub admin_exposed: bool,
}

/// The state of the program, as its probes show it.
pub trait Liveness: Send + Sync + 'static {
    /// True if it makes progress, or waits for something that a restart would not bring back. `/healthz` is 503 if not.
    fn is_live(&self) -> bool;

    /// True if it takes work. `/readyz` is 503 if not.
    fn is_ready(&self) -> bool;

    /// Lines about the state, for a person who asks either; without secrets.
    fn report(&self) -> String;

    /// Messages at the source that are not settled yet, where it can be asked.
    fn lag(&self) -> Option<u64> {
        None
    }
}

/// The server's place, taken before the program begins: a port in use is found at once.
pub struct Admin {
    listener: TcpListener,
    metrics: PrometheusHandle,
    activity: Activity,
    options: ConsoleOptions,
    exposed: bool,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Admin {
    /// Takes the address, installs the recorder of metrics and switches [`Activity`] on. Call it before a consumer, layer
    /// or runner is made: their metrics begin with them. `None` without `--admin`; there is no recorder then, and metrics
    /// cost nothing.
    ///
    /// # Errors
    /// An address that other hosts reach without `--admin-exposed`, `--admin-exposed` or a flag of the console without an
    /// address, a token that cannot be read, a port in use, a second recorder.
    pub fn bind(args: AdminArgs, console: &ConsoleArgs) -> Result<Option<Self>, Refusal> {
        let options = console.options()?;
        let Some(address) = address::allowed(args)? else {
            return match console.used() {
                Some(flag) => {
                    Err(Refusal::usage(format!("{flag} is about the console on --admin, which is not set")))
                }
                None => Ok(None),
            };
        };
        let listener = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = listener.map_err(|error| {
            Refusal::environment(format!(
                "--admin: {address} cannot be listened on ({error}); choose another port, or end the program that has it"
            ))
        })?;
        let (metrics, activity) = (metrics::install()?, Activity::switch_on());
        Ok(Some(Self { listener, metrics, activity, options, exposed: !address.ip().is_loopback() }))
    }

    /// The address, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process ends: probes are answered during a shutdown, too. The name is that of the program.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn serve(self, name: &'static str, probe: Arc<dyn Liveness>) -> Result<AdminServer, Refusal> {
        let address = self.address().map_or_else(|_| "?".to_owned(), |address| address.to_string());
        let Self { listener, metrics, activity, mut options, exposed } = self;
        let has_console = !exposed || options.token.is_some();
        let without = match has_console {
            true => "the console comes once the store is there",
            false => "the console is served to other hosts with --console-token only",
        };
        options.activity = Some(activity);
        options.program = Some(program(name, probe.clone()));
        let page = Arc::new(Page { metrics, probe, console: OnceLock::new(), without });
        let runtime = serve::spawn(listener, page.clone()).map_err(|error| {
            Refusal::environment(format!("the thread of --admin could not be started: {error}"))
        })?;
        tracing::info!(target: "ackonce", "metrics and probes are at http://{address}/metrics, /healthz and /readyz");
        Ok(AdminServer { runtime, page, options: has_console.then_some(options), address })
    }
}

/// The server while it runs.
pub struct AdminServer {
    runtime: Handle,
    page: Arc<Page>,
    /// `None` if the console is not to be served.
    options: Option<ConsoleOptions>,
    address: String,
}

impl fmt::Debug for AdminServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl AdminServer {
    /// Serves the console of this store, too, until the process ends.
    pub fn show(self, store: Arc<dyn Inspect>) {
        let Some(options) = self.options else { return };
        // Its open pages end with the process: nobody waits for connections here.
        let stop = CancellationToken::new();
        let console = {
            let _on_the_thread_of_the_server = self.runtime.enter();
            Console::start(store, options, stop)
        };
        let _ = self.page.console.set(console.router());
        tracing::info!(target: "ackonce", "the console is at http://{}/", self.address);
    }
}

fn program(name: &'static str, probe: Arc<dyn Liveness>) -> Program {
    Program::new(move || ProgramView {
        name: name.to_owned(),
        live: probe.is_live(),
        ready: probe.is_ready(),
        report: probe.report(),
        lag: probe.lag(),
    })
}

#[cfg(test)]
mod tests;
