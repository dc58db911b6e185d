//! The server of `--admin`: `/metrics`, `/healthz` and `/readyz`, for monitors and probes.
//!
//! It has a thread and a runtime of its own, so that it answers, and can say that nothing moves, while the program's own
//! runtime is stuck.

mod address;
mod metrics;
mod pulse;
mod serve;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use clap::{ArgAction, Args};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::refusal::Refusal;
pub use pulse::Pulse;

/// Flags of the server.
#[derive(Debug, Clone, Copy, Args)]
pub struct AdminArgs {
    /// Serve /metrics (Prometheus), /healthz (it makes progress) and /readyz (it takes work) there; `9090` is
    /// 127.0.0.1:9090
    #[arg(long, value_name = "ADDRESS", value_parser = address::parse)]
    pub admin: Option<SocketAddr>,
    /// Let --admin be an address that other hosts reach; nothing asks for a password there
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
}

/// The server's place, taken before the program begins: a port in use is found at once.
pub struct Admin {
    listener: TcpListener,
    metrics: PrometheusHandle,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Admin {
    /// Takes the address and installs the recorder of metrics. Call it before a consumer, layer or runner is made: their
    /// metrics begin with them. `None` without `--admin`; there is no recorder then, and metrics cost nothing.
    ///
    /// # Errors
    /// An address that other hosts reach without `--admin-exposed`, `--admin-exposed` without an address, a port in use,
    /// a second recorder.
    pub fn bind(args: AdminArgs) -> Result<Option<Self>, Refusal> {
        let Some(address) = address::allowed(args)? else { return Ok(None) };
        let listener = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listener = listener.map_err(|error| {
            Refusal::environment(format!(
                "--admin: {address} cannot be listened on ({error}); choose another port, or end the program that has it"
            ))
        })?;
        Ok(Some(Self { listener, metrics: metrics::install()? }))
    }

    /// The address, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process ends: probes are answered during a shutdown, too.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn serve(self, probe: Arc<dyn Liveness>) -> Result<(), Refusal> {
        let address = self.address().map_or_else(|_| "?".to_owned(), |address| address.to_string());
        serve::spawn(self.listener, self.metrics, probe).map_err(|error| {
            Refusal::environment(format!("the thread of --admin could not be started: {error}"))
        })?;
        tracing::info!(target: "ackonce", address, "metrics and probes are served: /metrics, /healthz, /readyz");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
