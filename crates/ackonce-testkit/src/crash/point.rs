//! Named points at which a worker kills or stops itself on request.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

use crate::ledger::micros_now;
use crate::lines::Writer;

/// `name` or `name:nth`: the point at which the process kills itself, on its nth pass.
pub const CRASH_AT: &str = "ACKONCE_CRASH_AT";
/// `name` or `name:nth`: the point at which the process stops itself, until SIGCONT.
pub const PAUSE_AT: &str = "ACKONCE_PAUSE_AT";
/// The file in which it first logs the crash or pause, with the exact moment.
pub const POINT_LOG: &str = "ACKONCE_POINT_LOG";

/// A line of the point log.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hit {
    pub(super) pid: u32,
    pub(super) point: String,
    pub(super) stops: bool,
    pub(super) at: u64,
}

struct Plan {
    point: String,
    left: AtomicU64,
    signal: Signal,
}

/// Marks a point of a worker at which it may be told to crash, such as `"after-effect"`.
///
/// With `ACKONCE_CRASH_AT=after-effect:3` the process kills itself (SIGKILL: nothing is flushed, nothing is
/// dropped) on its third pass; with `ACKONCE_PAUSE_AT` it stops itself (SIGSTOP) instead. Without
/// either, a point costs one read of a static.
pub fn point(name: &str) {
    static PLANS: OnceLock<Vec<Plan>> = OnceLock::new();
    for plan in PLANS.get_or_init(|| {
        [plan(CRASH_AT, Signal::KILL), plan(PAUSE_AT, Signal::STOP)].into_iter().flatten().collect()
    }) {
        if plan.point == name && plan.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            hit(name, plan.signal);
        }
    }
}

fn plan(variable: &str, signal: Signal) -> Option<Plan> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    let (point, nth) = parse(&text).unwrap_or_else(|| {
        // A crash test whose crash never comes would prove nothing and pass.
        eprintln!("{variable}={text} is not of the form name or name:nth with nth from 1");
        std::process::exit(2)
    });
    Some(Plan { point, left: AtomicU64::new(nth), signal })
}

fn parse(text: &str) -> Option<(String, u64)> {
    match text.rsplit_once(':') {
        None => Some((text.to_owned(), 1)),
        Some((point, nth)) => Some((point.to_owned(), nth.parse().ok().filter(|nth| *nth > 0)?)),
    }
}

fn hit(point: &str, signal: Signal) {
    let pid = getpid();
    if let Some(log) = std::env::var_os(POINT_LOG) {
        let stops = signal == Signal::STOP;
        let line = Hit { pid: std::process::id(), point: point.to_owned(), stops, at: micros_now() };
        if let Err(e) = write(Path::new(&log), &line) {
            eprintln!("the point log cannot be written: {e}");
        }
    }
    let sent = kill_process(pid, signal);
    while signal == Signal::KILL && sent.is_ok() {
        // It may take a moment to arrive; the point is not passed meanwhile.
        std::thread::park();
    }
}

fn write(log: &Path, hit: &Hit) -> std::io::Result<()> {
    Writer::open(log)?.append(serde_json::to_vec(hit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_or_refused() {
        assert_eq!(parse("after-effect"), Some(("after-effect".to_owned(), 1)));
        assert_eq!(parse("after-effect:3"), Some(("after-effect".to_owned(), 3)));
        assert_eq!(parse("a:b:2"), Some(("a:b".to_owned(), 2)));
        assert_eq!((parse("a:0"), parse("a:x"), parse("a:")), (None, None, None));
    }
}
