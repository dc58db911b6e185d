//! The exit codes of an example: 0 as asked, 2 for wrong flags, 3 for an error, which is one line.

use std::process::ExitCode;
use std::time::Duration;

use ackonce::ErrorKind;
use ackonce_cli::{flags_named, tell};
use ackonce_webhook::ConfigError;
use anyhow::{Context as _, Error, Result};

/// Flags that are wrong together, or that only the example can judge: one line, and exit code 2 as for all others.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// A signal ended the example while it waited for a server. That is an end as asked.
#[derive(Debug, thiserror::Error)]
#[error("ended while it waited for {0}")]
pub struct Stopped(pub &'static str);

/// Names in the errors of Ackonce, and the flags of these examples that stand for them.
const FLAGS: &[(&str, &str)] = &[
    ("Settings::lease", "--lease-ms"),
    ("Settings::window", "--window-s"),
    ("Settings::attempts", "--attempts"),
    ("Settings::concurrency", "--concurrency"),
    ("Settings::on_start", "--on-start"),
    ("KafkaConsumer::with_ids", "--id"),
    ("KafkaConsumer::with_dead_letters", "--dead-letter"),
    ("KafkaConsumer::with_on_missing", "--on-missing"),
    ("KafkaConsumer::with_order", "--order"),
    ("KafkaConsumer::with_max_in_flight", "--max-in-flight"),
    ("KafkaConsumer::with_retry_topics", "--retry-topics"),
    ("AmqpConsumer::with_ids", "--id"),
    ("AmqpConsumer::with_dead_letters", "--dead-letter"),
    ("AmqpConsumer::with_on_missing", "--on-missing"),
    ("AmqpConsumer::with_prefetch", "--prefetch"),
    ("with_dead_letters", "--dead-letter"),
    ("with_on_missing", "--on-missing"),
    ("OnMissing::Bury", "--on-missing bury"),
    ("OnMissing::Stop", "--on-missing stop"),
    ("ScheduledJob::with_look_back", "--look-back"),
    ("ScheduledJob::with_missed", "--missed"),
];

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
            let (line, flags) = one_line(&error);
            eprintln!("error: {line}");
            let ours = error.downcast_ref::<ackonce::Error>();
            let is_setting = error.is::<ConfigError>() || ours.is_some_and(|e| e.kind() == ErrorKind::Config);
            let is_usage = error.is::<Usage>() || is_setting && flags;
            ExitCode::from(if is_usage { WRONG_FLAGS } else { FAILED })
        }
    }
}

/// The error and its causes on one line, and whether it names a flag in place of a setting.
fn one_line(error: &Error) -> (String, bool) {
    let line = tell(error).split_whitespace().collect::<Vec<_>>().join(" ");
    let flags = flags_named(&line, FLAGS);
    match flags.is_empty() {
        true => (line, false),
        false => (format!("{line} (as flags: {flags})"), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_and_tells_each_cause_once() {
        let cause = std::io::Error::other("no route\n  to host");
        let error = ackonce::Error::new(ErrorKind::Unavailable, "redis: connecting").with_source(cause);
        let error = Error::new(error).context("--store redis://h");
        assert_eq!(one_line(&error).0, "--store redis://h: redis: connecting: no route to host");
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
