//! `exec:PROGRAM ARGS`: a process for each message.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ackonce::{Context, Error, ErrorKind, Failure, Result};
use ackonce_http::post::{excerpt, printable};
use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, Command};

use super::{STEP, Sink};
use crate::RelayMessage;
use crate::url::RelayUrlError;

/// `EX_TEMPFAIL` of sysexits.h: try again later.
const TRY_AGAIN: i32 = 75;
/// The end of a program's standard error that stands in a reason, in bytes.
const TAIL: usize = 2048;
/// The wait for the rest of its standard error, which a process that it left behind may hold open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A program with its arguments.
#[derive(Clone)]
pub(super) struct Program {
    name: String,
    args: Vec<String>,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.args.is_empty() { "" } else { " …" };
        write!(f, "{}{more}", self.name)
    }
}

impl Program {
    pub(super) fn parse(text: &str) -> Result<Self, RelayUrlError> {
        let command = text.strip_prefix("exec:").unwrap_or_default();
        let words = shlex::split(command)
            .ok_or_else(|| RelayUrlError::new("a quote of its command is not closed"))?;
        let mut words = words.into_iter();
        match words.next() {
            Some(name) => Ok(Self { name, args: words.collect() }),
            None => Err(RelayUrlError::new("it names no program; write exec:PROGRAM ARGS")),
        }
    }

    pub(super) fn open(&self, limit: Duration) -> Exec {
        Exec { program: self.clone(), limit }
    }

    /// True if there is such a file that may be run: at its path, or in a directory of `PATH`.
    fn is_there(&self) -> bool {
        let runs = |path: &Path| {
            path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        if self.name.contains('/') {
            return runs(Path::new(&self.name));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|dir: PathBuf| dir.join(&self.name)).any(|path| runs(&path))
    }
}

/// Runs a program for each message: its body on standard input, its ID in the environment.
#[derive(Debug)]
pub(super) struct Exec {
    program: Program,
    limit: Duration,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({self})")
    }
}

#[async_trait]
impl Sink for Exec {
    fn carries_key(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<()> {
        match self.program.is_there() {
            true => Ok(()),
            false => {
                let text = format!("exec: there is no program {} that may be run", self.program.name);
                Err(Error::new(ErrorKind::Config, text))
            }
        }
    }

    async fn deliver(&self, cx: &Context, message: &RelayMessage) -> Result<(), Failure> {
        let mut child = self.command(cx, message).spawn().map_err(|error| match error.raw_os_error() {
            // Its headers do not fit into an environment.
            Some(code) if code == rustix::io::Errno::TOOBIG.raw_os_error() => Failure::permanent(error),
            _ => Failure::infrastructure(format!("{} did not start: {error}", self.program.name)),
        })?;
        // Dropped before the child, on every way out: that of a dropped future, too.
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        match tokio::time::timeout(self.limit, run(&mut child, &mut group, message.payload())).await {
            Ok(Ok((status, said))) => self.verdict(status, &said),
            Ok(Err(error)) => Err(Failure::unknown(error)),
            Err(_) => {
                Err(Failure::unknown(format!("{} did not end within {:?}", self.program.name, self.limit)))
            }
        }
    }
}

impl Exec {
    fn command(&self, cx: &Context, message: &RelayMessage) -> Command {
        let mut command = Command::new(&self.program.name);
        command.args(&self.program.args).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::inherit()).stderr(Stdio::piped());
        // Settings of the relay, a store's password among them, are none of the program's.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ACKONCE_"))
        {
            command.env_remove(name);
        }
        for (name, value) in message.headers() {
            command.env(format!("ACKONCE_HEADER_{}", variable(&name)), &*printable(&value));
        }
        for (name, value) in message.origin() {
            command.env(format!("ACKONCE_{}", variable(name)), &*printable(value.as_bytes()));
        }
        // The names by which command line tools of OpenTelemetry pass a context on.
        command.env_remove("TRACEPARENT").env_remove("TRACESTATE");
        if let Some(context) = cx.trace_context().cloned().or_else(|| message.passed_on(None)) {
            command.env("TRACEPARENT", context.traceparent());
            if let Some(state) = context.tracestate() {
                command.env("TRACESTATE", state);
            }
        }
        if let Some(key) = message.key() {
            command.env("ACKONCE_KEY", &*printable(key));
        }
        if let Some(kind) = message.content_type() {
            command.env("ACKONCE_CONTENT_TYPE", &*printable(kind.as_bytes()));
        }
        command
            .env("ACKONCE_MESSAGE_ID", &*printable(cx.key().id()))
            .env("ACKONCE_IDEMPOTENCY_KEY", cx.idempotency_key(STEP))
            .env("ACKONCE_SCOPE", cx.key().scope().name())
            .env("ACKONCE_ATTEMPT", cx.attempt().to_string())
            .env("ACKONCE_FENCE", cx.fence().to_string());
        command
    }

    /// Exit 0 is done and 75 is tried again; a signal says nothing about the effect; anything else will fail again.
    fn verdict(&self, status: ExitStatus, said: &[u8]) -> Result<(), Failure> {
        let said = excerpt(said, TAIL);
        let separator = if said.is_empty() { "" } else { ": " };
        let reason = format!("{} ended with {status}{separator}{said}", self.program.name);
        match status.code() {
            Some(0) => Ok(()),
            Some(TRY_AGAIN) => Err(Failure::Retry(reason.into())),
            Some(_) => Err(Failure::permanent(reason)),
            None => Err(Failure::unknown(reason)),
        }
    }
}

/// Feeds the body while its standard error is read: either pipe may be full.
async fn run(child: &mut Child, group: &mut Group, body: &[u8]) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let feeding = async {
        if let Some(mut stdin) = stdin {
            // A program need not read its input; its exit status decides.
            let _ = stdin.write_all(body).await;
        }
    };
    let mut said = Vec::new();
    let ended = async {
        let reading = tail(stderr, &mut said);
        tokio::pin!(reading);
        let waiting = async {
            let waited = async {
                let status = child.wait().await;
                // It has ended, and its number may become another's.
                group.0 = None;
                status
            };
            tokio::pin!(waited, feeding);
            tokio::select! {
                status = &mut waited => status,
                // A program that ends without reading must not be waited for by its feeder, nor the other way round.
                () = &mut feeding => waited.await,
            }
        };
        tokio::pin!(waiting);
        tokio::select! {
            status = &mut waiting => {
                let _ = tokio::time::timeout(LAST_WORDS, reading).await;
                status
            }
            () = &mut reading => waiting.await,
        }
    };
    let status = ended.await?;
    Ok((status, said))
}

/// Passes standard error on to ours, and keeps its end.
async fn tail(stderr: Option<ChildStderr>, kept: &mut Vec<u8>) {
    let Some(mut stderr) = stderr else { return };
    let (mut ours, mut chunk) = (tokio::io::stderr(), [0; 1024]);
    while let Ok(length @ 1..) = stderr.read(&mut chunk).await {
        let _ = ours.write_all(&chunk[..length]).await;
        kept.extend_from_slice(&chunk[..length]);
        kept.drain(..kept.len().saturating_sub(TAIL));
    }
}

/// Kills a program and all that it started, unless it has ended: its group would be another's by then.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The name of an environment variable.
fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}
