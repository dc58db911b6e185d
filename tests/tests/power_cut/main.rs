//! The power is cut while messages are completed: what was acknowledged is on the disk.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod disk;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use ackonce::store::{ClaimRequest, Claimed, Token};
use ackonce::{Deduplicator, Scope};
use ackonce_sqlite::{SqliteStore, rusqlite};
use ackonce_testkit::lines;
use ackonce_testkit::servers::not_tested;
use disk::{Disk, command, trial};
use rustix::process::{Signal, set_parent_process_death_signal};

/// Set in the process that plays a test in a mount namespace of its own, to the folder of its disks.
const STAGE: &str = "ACKONCE_TEST_POWER_CUT";
/// Images of each set-up; default 10. With more of them, the printed lines of JSON are for docs/proof/runs.jsonl.
const IMAGES: &str = "ACKONCE_POWER_CUTS";

#[tokio::test]
async fn sqlite_as_shipped_keeps_every_acked_record() {
    if let Some(stage) = on_stage("sqlite_as_shipped_keeps_every_acked_record") {
        assert_eq!(rounds(&stage, "full").await, 0, "acknowledged, and not on the disk");
    }
}

/// Each checkpoint, every 200 pages, is a good moment to lose something, and so is each new generation, every 500 records.
#[tokio::test]
async fn a_cut_among_checkpoints_loses_no_more() {
    if let Some(stage) = on_stage("a_cut_among_checkpoints_loses_no_more") {
        assert_eq!(rounds(&stage, "checkpoints").await, 0, "acknowledged, and not on the disk");
    }
}

/// The control: without it, the others could pass for want of a cut.
#[tokio::test]
async fn a_store_that_does_not_flush_is_found_out() {
    if let Some(stage) = on_stage("a_store_that_does_not_flush_is_found_out") {
        assert_ne!(
            rounds(&stage, "normal").await,
            0,
            "synchronous=NORMAL loses what it had no time to write; was the power cut?"
        );
    }
}

/// The folder to play in, if this is the process that plays. Otherwise it has played, or cannot.
fn on_stage(test: &str) -> Option<PathBuf> {
    if let Some(stage) = std::env::var_os(STAGE) {
        set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
        return Some(stage.into());
    }
    let stage = tempfile::tempdir().unwrap();
    let mut able = in_namespace(stage.path(), &trial(stage.path()));
    let reason = match able.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")),
        Err(error) => Some(format!("{:?}: {error}", able.get_program())),
    };
    if let Some(reason) = reason {
        not_tested(&format!("power cut ({reason})"));
        return None;
    }
    let program = std::env::current_exe().unwrap().to_string_lossy().into_owned();
    let output = in_namespace(stage.path(), &[program, "--exact".into(), test.into(), "--nocapture".into()])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    println!("{}", said.concat());
    assert!(output.status.success(), "as told above");
    None
}

/// The command, as root, among mounts of its own: whatever becomes of it, they and their loop devices go with it.
fn in_namespace(stage: &Path, words: &[String]) -> Command {
    let mut wrapped = if rustix::process::geteuid().is_root() {
        command("env")
    } else {
        let mut sudo = command("sudo");
        sudo.args(["-n", "env"]);
        sudo
    };
    let mut setting = std::ffi::OsString::from(format!("{STAGE}="));
    setting.push(stage);
    wrapped.arg(setting).arg(format!("{IMAGES}={}", images())).args(["unshare", "--mount"]).args(words);
    wrapped
}

fn images() -> usize {
    std::env::var(IMAGES)
        .map_or(10, |images| images.parse().unwrap_or_else(|e| panic!("{IMAGES}={images}: {e}")))
}

/// Cuts the power again and again, each time of a copy of what the last cut left. How many records were lost
/// of those that had been acknowledged.
async fn rounds(stage: &Path, level: &str) -> usize {
    let mut disk = Disk::format(stage, "disk0");
    let (mut acked, mut all, mut lost) = (BTreeSet::new(), 0, 0);
    for round in 1..=images() {
        let [a, b, ..] = Token::random().0;
        // Up to half a second after the first ack.
        let delay = Duration::from_micros(u64::from(u16::from_be_bytes([a, b])) * 8);
        let before = acked.len();
        acked.extend(work_until_cut(&disk, level, round, delay));
        // Nobody has it open any more; all that is left is what the device was given.
        disk = disk.copy(&format!("disk{round}"));
        let done = done(&disk.file("dedup.db"), &acked).await;
        let missing: Vec<_> = acked.difference(&done).cloned().collect();
        println!(
            "{level} {round}: cut {delay:?} after the first ack, {} more acked, {} lost, such as {:?}",
            acked.len() - before,
            missing.len(),
            missing.first(),
        );
        all += acked.len() - before;
        lost += missing.len();
        acked.retain(|id| done.contains(id));
    }
    let versions = format!(r#"["ackonce {}","sqlite {}"]"#, env!("CARGO_PKG_VERSION"), rusqlite::version());
    println!(
        r#"{{"power_cuts":{{"setup":"{level}","images":{},"acked":{all},"lost":{lost},"versions":{versions}}}}}"#,
        images()
    );
    lost
}

/// What a worker on that disk acknowledged until the cut.
fn work_until_cut(disk: &Disk, level: &str, round: usize, delay: Duration) -> Vec<String> {
    let [acks, errors] = [(); 2].map(|()| tempfile::NamedTempFile::new_in(disk.elsewhere()).unwrap());
    let running = |worker: &mut Child| {
        let ended = worker.try_wait().unwrap();
        assert_eq!(ended, None, "{}", fs::read_to_string(errors.path()).unwrap());
    };
    let mut worker = Command::new(env!("CARGO_BIN_EXE_e2e-power-worker"))
        .arg(disk.file("dedup.db"))
        .args([level, &format!("r{round}")])
        .stdout(acks.reopen().unwrap())
        .stderr(errors.reopen().unwrap())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while acks.as_file().metadata().unwrap().len() == 0 {
        running(&mut worker);
        assert!(Instant::now() < end, "no ack within a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(delay);
    running(&mut worker);
    let size = disk.cut(acks.path());
    worker.kill().unwrap();
    worker.wait().unwrap();
    // The worker may have been in the middle of a line.
    lines::complete(&fs::read(acks.path()).unwrap()[..size]).map(str::to_owned).collect()
}

/// Those of the acknowledged messages that the file, which must be whole, knows as done.
async fn done(file: &Path, acked: &BTreeSet<String>) -> BTreeSet<String> {
    let store = SqliteStore::open(file).unwrap();
    let scope = Scope::new("power").unwrap();
    let claim = |id: &String| ClaimRequest {
        key: scope.key(id.clone()).unwrap(),
        token: Token::random(),
        lease: Duration::ZERO,
        window: Duration::ZERO,
        fingerprint: None,
    };
    let answers = store.claim(&acked.iter().map(claim).collect::<Vec<_>>()).await.unwrap();
    let done = acked.iter().zip(answers).filter(|(_, answer)| matches!(answer, Claimed::Done(_)));
    let done = done.map(|(id, _)| id.clone()).collect();
    let conn = rusqlite::Connection::open(file).unwrap();
    let whole: String = conn.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(whole, "ok");
    done
}
