//! Waiting for a server that is away when a program starts.
//!
//! To be replaced by the core's function of the same meaning as soon as there is one: it has the same arguments.

use std::time::Duration;

use ackonce::{Backoff, CancellationToken, Error, ErrorKind, OnStart, Repeat, Result};
use tokio::time::Instant;

/// The wait between two tries.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(10) };
/// How often a wait is mentioned again.
const AGAIN: Duration = Duration::from_secs(60);

/// Connects, and waits for a server that cannot be used yet as `policy` says: with a back-off of up to ten seconds,
/// a warning at its beginning and once a minute, and a line at its end. `name` is what the log calls the server.
///
/// # Errors
/// - Under [`OnStart::End`] every error of `connect`; under [`OnStart::EndIfRefused`] one that somebody must mend: of
///   a kind [`Config`](ErrorKind::Config), [`Corrupt`](ErrorKind::Corrupt), [`NewerSchema`](ErrorKind::NewerSchema),
///   or that may [`Never`](Repeat::Never) be repeated.
/// - [`Unavailable`](ErrorKind::Unavailable) if `shutdown` ended the wait.
pub async fn connect_at_start<S, F>(
    policy: OnStart,
    shutdown: &CancellationToken,
    name: &str,
    mut connect: impl FnMut() -> F,
) -> Result<S>
where
    F: Future<Output = Result<S>>,
{
    let began = Instant::now();
    let (mut tries, mut said): (u32, Option<Instant>) = (0, None);
    let ended = || Error::new(ErrorKind::Unavailable, format!("shut down before {name} could be used"));
    loop {
        let answer = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(ended()),
            answer = connect() => answer,
        };
        let waited_s = began.elapsed().as_secs();
        let error = match answer {
            Ok(server) => {
                if tries > 0 {
                    tracing::info!(target: "ackonce", waited_s, "{name} can be used now");
                }
                return Ok(server);
            }
            Err(error) if ends(policy, &error) => return Err(error),
            Err(error) => error,
        };
        tries = tries.saturating_add(1);
        if said.is_none_or(|at| at.elapsed() >= AGAIN) {
            said = Some(Instant::now());
            tracing::warn!(target: "ackonce", waited_s, tries, %error, "{name} cannot be used yet: waiting for it");
        }
        tokio::select! {
            () = shutdown.cancelled() => return Err(ended()),
            () = tokio::time::sleep(BACKOFF.after(tries)) => {}
        }
    }
}

fn ends(policy: OnStart, error: &Error) -> bool {
    let refused = matches!(error.kind(), ErrorKind::Config | ErrorKind::Corrupt | ErrorKind::NewerSchema)
        || error.repeat() == Repeat::Never;
    match policy {
        OnStart::Wait => false,
        OnStart::EndIfRefused => refused,
        OnStart::End => true,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn connect(policy: OnStart, kind: ErrorKind, failures: u32) -> (Result<()>, u32) {
        let tries = Cell::new(0);
        let server = || {
            tries.set(tries.get() + 1);
            let answer = if tries.get() <= failures { Err(Error::new(kind, "no")) } else { Ok(()) };
            async { answer }
        };
        let answer = connect_at_start(policy, &CancellationToken::new(), "the server", server).await;
        (answer, tries.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_away_is_waited_for_and_one_that_refuses_is_not() {
        use ErrorKind as K;
        let cases = [
            (OnStart::Wait, K::Unavailable, true),
            (OnStart::Wait, K::Config, true),
            (OnStart::EndIfRefused, K::Unavailable, true),
            (OnStart::EndIfRefused, K::Timeout, true),
            (OnStart::EndIfRefused, K::Config, false),
            (OnStart::EndIfRefused, K::NewerSchema, false),
            (OnStart::End, K::Unavailable, false),
        ];
        for (policy, kind, waits) in cases {
            let (answer, tries) = connect(policy, kind, 50).await;
            assert_eq!(
                (answer.is_ok(), tries),
                if waits { (true, 51) } else { (false, 1) },
                "{policy:?} {kind:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_ends_the_wait_and_a_try_that_hangs() {
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(300)).await;
            stop.cancel();
        });
        let away = || async { Err::<(), _>(Error::new(ErrorKind::Unavailable, "away")) };
        let error = connect_at_start(OnStart::default(), &shutdown, "the server", away).await.unwrap_err();
        assert!(error.to_string().contains("shut down before the server"), "{error}");

        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(300)).await;
            stop.cancel();
        });
        let hangs = std::future::pending::<Result<()>>;
        connect_at_start(OnStart::default(), &shutdown, "the server", hangs).await.unwrap_err();
    }
}
