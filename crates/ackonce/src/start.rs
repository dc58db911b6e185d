//! Servers that cannot be used yet when a program starts.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::chain::chain;
use crate::error::{Error, ErrorKind, Repeat, Result};
use crate::settings::{Backoff, OnStart};

/// The interval at which a program that waits says so.
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// Between two tries: soon at first, for programs that start together come up within a second or two.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(200), max: Duration::from_secs(10) };

/// Connects to the server called `name` (in log lines and errors: `"Redis at cache.internal"`), and waits for it as
/// `policy` says: [`Settings::on_start`](crate::Settings::on_start) for most.
///
/// A process that is started before its store must not end and be restarted by its supervisor several times a second.
/// `connect` is called again after 0.2 s, and less often up to every ten seconds. That it waits is logged at once, then
/// each minute, and once it is over. A try that never ends is for `connect` to limit; all stores of this project do.
///
/// ```no_run
/// use ackonce::{CancellationToken, MemoryStore, OnStart, connect_at_start};
/// # struct RedisStore;
/// # impl RedisStore { async fn connect(_: &str) -> ackonce::Result<MemoryStore> { Ok(MemoryStore::new()) } }
///
/// # async fn start(shutdown: CancellationToken) -> ackonce::Result<()> {
/// let connect = || RedisStore::connect("redis://cache.internal");
/// let store = connect_at_start(OnStart::default(), &shutdown, "Redis at cache.internal", connect).await?;
/// # let _ = store; Ok(()) }
/// ```
///
/// # Errors
/// - [`ErrorKind::Stopped`]: `shutdown` came first.
/// - Under [`OnStart::End`] the first error of `connect`.
/// - Under [`OnStart::EndIfRefused`] its first error that waiting does not mend: settings or credentials that are
///   refused ([`Config`](ErrorKind::Config)), damaged data, data of a newer version, and all else that is
///   [`Repeat::Never`].
pub async fn connect_at_start<S, F>(
    policy: OnStart,
    shutdown: &CancellationToken,
    name: &str,
    mut connect: impl FnMut() -> F,
) -> Result<S>
where
    F: Future<Output = Result<S>>,
{
    let (began, mut failures, mut logged_at) = (Instant::now(), 0_u32, None::<Instant>);
    loop {
        let answer = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(stopped(name)),
            answer = connect() => answer,
        };
        let waited_s = began.elapsed().as_secs();
        let error = match answer {
            Ok(server) => {
                if failures > 0 {
                    tracing::warn!(target: "ackonce", failures, waited_s, "{name} can be used now: starting");
                }
                return Ok(server);
            }
            Err(error) => error,
        };
        if ends(policy, &error) {
            return Err(error);
        }
        failures = failures.saturating_add(1);
        if logged_at.is_none_or(|at| at.elapsed() >= REMIND_EVERY) {
            logged_at = Some(Instant::now());
            tracing::warn!(target: "ackonce", error = %chain(&error), failures, waited_s,
                "{name} cannot be used yet: waiting for it (Settings::on_start)");
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(stopped(name)),
            () = tokio::time::sleep(BACKOFF.after(failures)) => {}
        }
    }
}

fn ends(policy: OnStart, error: &Error) -> bool {
    match policy {
        OnStart::Wait => false,
        OnStart::EndIfRefused => {
            let is_refusal =
                matches!(error.kind(), ErrorKind::Config | ErrorKind::Corrupt | ErrorKind::NewerSchema);
            is_refusal || error.repeat() == Repeat::Never
        }
        OnStart::End => true,
    }
}

fn stopped(name: &str) -> Error {
    Error::new(ErrorKind::Stopped, format!("stopped while waiting for {name} at start"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::RefCell;

    use super::*;

    async fn connect(policy: OnStart, errors: &[Error]) -> (Result<()>, Vec<Duration>) {
        let (began, tries) = (Instant::now(), RefCell::new(Vec::new()));
        let connect = || {
            let n = tries.borrow().len();
            tries.borrow_mut().push(began.elapsed());
            let answer = errors.get(n).cloned().map_or(Ok(()), Err);
            async { answer }
        };
        let answer = connect_at_start(policy, &CancellationToken::new(), "the store", connect).await;
        (answer, tries.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_away_at_start_is_waited_for_and_not_hammered() {
        let away = vec![Error::new(ErrorKind::Unavailable, "away"); 40];
        for policy in [OnStart::Wait, OnStart::EndIfRefused] {
            let (answer, tries) = connect(policy, &away).await;
            answer.unwrap();
            let pauses: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(
                pauses[0] >= BACKOFF.min
                    && pauses.iter().all(|pause| *pause <= BACKOFF.max + REMIND_EVERY / 60)
            );
            assert!(pauses[10..].iter().all(|pause| *pause >= BACKOFF.max), "{pauses:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_policy_says_which_errors_end_it() {
        use ErrorKind as K;
        let away = || Error::new(K::Unavailable, "away");
        let cases = [
            (OnStart::End, away(), true),
            (OnStart::EndIfRefused, away(), false),
            (OnStart::EndIfRefused, Error::new(K::ReadOnly, "a replica for now"), false),
            (OnStart::EndIfRefused, Error::new(K::Config, "password").with_repeat(Repeat::Safe), true),
            (OnStart::EndIfRefused, Error::new(K::Corrupt, "damaged"), true),
            (OnStart::EndIfRefused, Error::new(K::NewerSchema, "newer"), true),
            (OnStart::EndIfRefused, Error::new(K::Unavailable, "x").with_repeat(Repeat::Never), true),
            (OnStart::Wait, Error::new(K::Config, "password"), false),
        ];
        for (policy, error, ends) in cases {
            let (answer, tries) =
                connect(policy, &[away(), error.clone()][usize::from(policy == OnStart::End)..]).await;
            assert_eq!(answer.is_err(), ends, "{policy:?} {error:?}");
            assert_eq!(
                tries.len(),
                if ends { 2 - usize::from(policy == OnStart::End) } else { 3 },
                "{error:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_ends_the_wait_whatever_it_waits_for() {
        for hangs in [true, false] {
            let shutdown = CancellationToken::new();
            let cancel = async {
                tokio::time::sleep(Duration::from_secs(7)).await;
                shutdown.cancel();
            };
            let connect = || async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Err::<(), _>(Error::new(ErrorKind::Unavailable, "away"))
            };
            let began = Instant::now();
            let waiting = connect_at_start(OnStart::Wait, &shutdown, "the store", connect);
            let (answer, ()) = tokio::join!(waiting, cancel);
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Stopped);
            assert_eq!(began.elapsed().as_secs(), 7);
        }
    }
}
