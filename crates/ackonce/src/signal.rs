//! Graceful shutdown on a signal.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGTERM or SIGINT. A second one ends the
/// process at once with exit code 130, as a crash would.
///
/// # Errors
/// The handlers could not be installed.
///
/// # Panics
/// Outside a tokio runtime with I/O enabled.
pub fn shutdown_on_signals() -> std::io::Result<CancellationToken> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::info!(target: "ackonce", "signal received: draining");
        cancel.cancel();
        // A second signal ends the wait.
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::warn!(target: "ackonce", "second signal: ending at once; claims are left to their leases");
        std::process::exit(130);
    });
    Ok(token)
}
