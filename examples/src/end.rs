//! The exit codes of an example: 0 as asked, 2 for wrong flags, 3 for an error, which is one line.

use std::process::ExitCode;
use std::time::Duration;

use ackonce_cli::tell;
use anyhow::{Context as _, Error, Result};

/// Flags that are wrong together, or that only the example can judge: one line, and exit code 2 as for all others.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A signal ended the example while it waited for a server. That is an end as asked.
#[derive(Debug, thiserror::Error)]
#[error("ended while it waited for {0}")]
pub struct Stopped(pub &'static str);

/// The exit code of wrong flags, clap's own.
const WRONG_FLAGS: u8 = 2;
/// The exit code of an error.
const FAILED: u8 = 3;
/// The time limit at the end for threads that still wait for a server.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs an example and tells how it ended.
pub fn run(example: impl Future<Output = Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime.context("starting a runtime") {
        Ok(runtime) => {
            let ended = runtime.block_on(example);
            runtime.shutdown_timeout(PATIENCE);
            ended
        }
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Stopped>() => {
            eprintln!("{error}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::from(if error.is::<Usage>() { WRONG_FLAGS } else { FAILED })
        }
    }
}

/// The error and its causes on one line.
fn one_line(error: &Error) -> String {
    tell(error).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_and_tells_each_cause_once() {
        let cause = std::io::Error::other("no route\n  to host");
        let error =
            ackonce::Error::new(ackonce::ErrorKind::Unavailable, "redis: connecting").with_source(cause);
        let error = Error::new(error).context("--store redis://h");
        assert_eq!(one_line(&error), "--store redis://h: redis: connecting: no route to host");
    }

    #[test]
    fn wrong_flags_and_errors_have_their_codes() {
        let code = |error: Error| format!("{:?}", run(async { Err(error) }));
        assert_eq!(code(Usage("--id".into()).into()), format!("{:?}", ExitCode::from(2)));
        assert_eq!(code(Stopped("the store").into()), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code(anyhow::anyhow!("x")), format!("{:?}", ExitCode::from(3)));
        assert_eq!(format!("{:?}", run(async { Ok(()) })), format!("{:?}", ExitCode::SUCCESS));
    }
}
