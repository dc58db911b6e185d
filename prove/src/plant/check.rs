//! A check: a command that has to pass on the tree as it is, and to fail on a tree with a bug.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// The copy of the tree, and the folder of its builds.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) tree: PathBuf,
    pub(super) target: PathBuf,
    /// The output of builds and checks.
    pub(super) logs: PathBuf,
    /// The longest time that a check may take.
    pub(super) limit: Duration,
}

/// The end of a check.
#[derive(Debug)]
pub(super) enum Ended {
    Passed,
    /// The test that failed first, or the part of the promise that was broken, and the time that this took.
    Failed(String, Duration),
}

/// The exit code of timeout(1) for a command that had to be ended.
const ENDED_BY_FORCE: i32 = 124;

impl Bench {
    /// Builds the check, then runs it as far as its first failure; the output goes to files of that name.
    pub(super) fn run(&self, check: &str, name: &str) -> Result<Ended> {
        let words: Vec<_> = check.split_whitespace().collect();
        let program = self.target.join("debug/prove").display().to_string();
        let (build, run) = match words[..] {
            ["cargo", "test", ref args @ ..] => {
                let of_cargo = args.iter().position(|arg| *arg == "--").unwrap_or(args.len());
                let build = [&["cargo", "test", "--locked", "--no-run"], &args[..of_cargo]].concat();
                (build, [&["cargo", "test", "--locked", "--no-fail-fast"], args].concat())
            }
            ["prove", ref args @ ..] => {
                // Features as in the other checks: the program is built for its test.
                let build = vec!["cargo", "test", "--locked", "--workspace", "--no-run", "--test", "proof"];
                (build, [&[program.as_str()], args].concat())
            }
            _ => bail!("{name}: {check:?} is neither `cargo test …` nor `prove …`"),
        };
        let log = self.logs.join(format!("{name}.build"));
        if !self.command(&build, &log)?.status()?.success() {
            bail!("{name} does not build: {}", log.display());
        }
        let log = self.logs.join(format!("{name}.check"));
        let limit = self.limit.as_secs().to_string();
        let began = Instant::now();
        let mut check =
            self.command(&[&["timeout", &limit], &*run].concat(), &log)?.stdout(Stdio::piped()).spawn()?;
        let mut output = File::options().append(true).open(&log)?;
        for line in BufReader::new(check.stdout.take().context("it has an output")?).lines() {
            let line = line?;
            writeln!(output, "{line}")?;
            if let Some(failure) = failure(&line) {
                let took = began.elapsed();
                end(&mut check)?;
                return Ok(Ended::Failed(failure.to_owned(), took));
            }
        }
        match check.wait()?.code() {
            Some(0) => Ok(Ended::Passed),
            Some(ENDED_BY_FORCE) => {
                bail!("{name}: its check does not end within {limit} s: {}", log.display())
            }
            // By a signal, or a run that could not be made.
            _ => bail!("{name}: its check fails and names no failure: {}", log.display()),
        }
    }

    fn command(&self, words: &[&str], log: &Path) -> Result<Command> {
        let [program, args @ ..] = words else { bail!("an empty command") };
        File::create(log).with_context(|| log.display().to_string())?;
        let output = File::options().append(true).open(log)?;
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // A test without its server would pass, and find nothing.
        command.env("ACKONCE_REQUIRE_SERVERS", "1").env("RUST_BACKTRACE", "0");
        Ok(command)
    }
}

/// Ends a check and all that it has started, which timeout(1) does at this signal.
fn end(check: &mut Child) -> Result<()> {
    if let Some(pid) = i32::try_from(check.id()).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::TERM)?;
    }
    check.wait()?;
    Ok(())
}

/// The failure that a line of libtest or of `prove` names.
fn failure(line: &str) -> Option<&str> {
    let of_test = || line.strip_prefix("test ")?.strip_suffix(" ... FAILED");
    line.strip_prefix("BROKEN: ").or_else(of_test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_from_both_kinds_of_output() {
        let lines = ["test a::b ... ok", "test a::c ... FAILED", "| x |", "BROKEN: 3 messages were lost"];
        assert_eq!(lines.map(failure), [None, Some("a::c"), None, Some("3 messages were lost")]);
    }
}
