use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use ackonce::store::{ClaimRequest, DeduplicatorExt, Token};
use ackonce::{Deduplicator, Scope};
use ackonce_sqlite::SqliteConfig;
use ackonce_sqlite::rusqlite::Connection;
use tempfile::TempDir;

use crate::{Examined, program};

const HOUR: Duration = Duration::from_secs(3600);

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

fn look(path: &Path, more: &str) -> Examined {
    Examined::of(&["--store", &format!("{}{more}", url(path))])
}

async fn claim(store: &dyn Deduplicator) {
    let key = Scope::new("s").unwrap().key("m").unwrap();
    let request = ClaimRequest { key, token: Token::random(), lease: HOUR, window: HOUR, fingerprint: None };
    store.claim_one(request).await.unwrap();
}

/// A directory with a file that a store has written and closed.
async fn file(config: impl FnOnce(SqliteConfig) -> SqliteConfig) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dedup.db");
    let store = config(SqliteConfig::new(&path)).open().unwrap();
    claim(&store).await;
    drop(store);
    // The writer ends on its own thread.
    crate::own::until("the file is closed", || !path.with_file_name("dedup.db-wal").exists());
    (directory, path)
}

fn sql(path: &Path, text: &str) {
    Connection::open(path).unwrap().execute_batch(text).unwrap();
}

/// The names, contents and times of a directory's files, but for those of SQLite's shared memory, which readers write.
fn state(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64)> {
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    files
        .map(|path| match path.to_string_lossy().ends_with("-shm") {
            true => (path, (Vec::new(), 0)),
            false => {
                let time = std::fs::metadata(&path).unwrap();
                (path.clone(), (std::fs::read(&path).unwrap(), time.mtime_nsec()))
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_file_is_not_accused_and_not_changed() {
    let (directory, path) = file(|config| config).await;
    let before = state(directory.path());
    look(&path, "").is_sound();
    Examined::of(&["--store", &url(&path), "--deep"]).is_sound();
    assert!(before == state(directory.path()), "closed");
    // While a store has it open.
    let store = SqliteConfig::new(&path).open().unwrap();
    claim(&store).await;
    let before = std::fs::read(path.with_file_name("dedup.db-wal")).unwrap();
    look(&path, "").is_sound();
    Examined::of(&["--store", &url(&path), "--deep"]).is_sound();
    assert!(before == std::fs::read(path.with_file_name("dedup.db-wal")).unwrap(), "open");
    claim(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_misconfiguration_is_found() {
    Examined::of(&["--store", "memory:"]).finds(&["memory-store"], 4);
    let (directory, path) = file(|config| config).await;
    look(&directory.path().join("other.db"), "").finds(&["sqlite-missing"], 1);
    assert!(!directory.path().join("other.db").exists(), "nothing is created");
    look(&directory.path().join("none/dedup.db"), "").finds(&["sqlite-directory", "sqlite-missing"], 4);
    look(&path, "?synchronous=normal").finds(&["sqlite-synchronous"], 1);
    look(&path, "?busy_timeout_ms=9000").finds(&["settings-lease"], 1);
    let used = std::fs::metadata(&path).unwrap().len();
    look(&path, &format!("?max_bytes={used}")).finds(&["sqlite-max-bytes"], 1);
    look(&path, "?max_bytes=1000000000").is_sound();

    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    look(&path, "").finds(&["sqlite-world-writable"], 1);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();

    let reserve = path.with_file_name("dedup.db-reserve");
    std::fs::rename(&reserve, directory.path().join("aside")).unwrap();
    look(&path, "").finds(&["sqlite-reserve"], 1);
    std::fs::rename(directory.path().join("aside"), &reserve).unwrap();

    sql(&path, "PRAGMA journal_mode = DELETE");
    look(&path, "").finds(&["sqlite-journal"], 1);
    sql(&path, "PRAGMA journal_mode = WAL; UPDATE ackonce_meta SET value = 99 WHERE name = 'schema'");
    look(&path, "").finds(&["sqlite-schema-version"], 4);
    sql(&path, "DELETE FROM ackonce_meta WHERE name = 'schema'");
    look(&path, "").finds(&["sqlite-schema-version"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_when_it_is_asked_for() {
    let (_directory, path) = file(|config| config).await;
    // The root page of the claims, which has one row.
    let root: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'ackonce_audit'", [], |row| row.get(0))
        .unwrap();
    crate::own::until("the file is closed", || !path.with_file_name("dedup.db-wal").exists());
    let mut bytes = std::fs::read(&path).unwrap();
    let at = usize::try_from(root - 1).unwrap() * 4096;
    bytes[at..at + 64].fill(0xff);
    std::fs::write(&path, &bytes).unwrap();
    look(&path, "").is_sound();
    Examined::of(&["--store", &url(&path), "--deep"]).finds(&["sqlite-damaged"], 4);
    std::fs::write(&path, "no database at all, but a text of some length, which has more than a hundred bytes in it, as a header has").unwrap();
    look(&path, "").finds(&["sqlite-damaged"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_back_is_found() {
    let (_directory, path) = file(|config| config.with_clock(|| SystemTime::now() + 2 * HOUR)).await;
    look(&path, "").finds(&["sqlite-clock"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_grown_is_found() {
    let (_directory, path) = file(|config| config).await;
    let store = SqliteConfig::new(&path).open().unwrap();
    claim(&store).await;
    let log = std::fs::OpenOptions::new().append(true).open(path.with_file_name("dedup.db-wal")).unwrap();
    log.set_len(200 << 20).unwrap();
    look(&path, "").finds(&["sqlite-wal-size"], 1);
}

#[test]
fn a_file_in_memory_is_found() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        return ackonce_testkit::servers::not_tested("/dev/shm cannot be written");
    };
    let examined = look(&directory.path().join("dedup.db"), "");
    // A small one may be nearly full, too.
    let text = examined.json.to_string();
    assert!(examined.code == 4 && text.contains("\"sqlite-tmpfs\""), "{:#}", examined.json);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_are_found() {
    let (directory, path) = file(|config| config).await;
    let as_nobody = || {
        // Root may write everywhere.
        if std::fs::metadata(directory.path()).unwrap().uid() != 0 {
            return program();
        }
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            env!("CARGO_BIN_EXE_ackonce"),
            "doctor",
        ]);
        command
    };
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o555)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
    let examined = Examined::by(as_nobody(), &["--store", &url(&path)]);
    examined.finds(&["sqlite-directory", "sqlite-read-only"], 4);
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
    let examined = Examined::by(as_nobody(), &["--store", &url(&path)]);
    let text = examined.json.to_string();
    assert!(examined.code == 4 && text.contains("sqlite-read-only"), "{:#}", examined.json);
    assert!(text.contains("\"not_checked\":[{"), "{:#}", examined.json);
}

/// In a mount namespace of its own, which ends with its process.
#[test]
fn file_systems_that_forget_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display();
    for (mount, names) in [
        ("mount -t tmpfs -o size=20m tmpfs $D/m", &["sqlite-disk", "sqlite-missing", "sqlite-tmpfs"][..]),
        (
            "mkdir -p $D/l $D/u $D/w && mount -t overlay overlay -o lowerdir=$D/l,upperdir=$D/u,workdir=$D/w $D/m",
            &["sqlite-container", "sqlite-missing"],
        ),
    ] {
        let script = format!("D={place}; mkdir -p $D/m; {{ {mount}; }} || exit 77; exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_ackonce"), "doctor"]);
        let examined = Examined::by(command, &["--store", &format!("sqlite:{place}/m/dedup.db")]);
        if [1, 77].contains(&examined.code) && examined.json.is_null() {
            return ackonce_testkit::servers::not_tested("this user may not mount a file system");
        }
        examined.finds(names, 4);
    }
}
