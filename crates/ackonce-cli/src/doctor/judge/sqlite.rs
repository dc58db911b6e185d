//! SQLite: the place of the file, and its inside.

use std::time::{SystemTime, UNIX_EPOCH};

use ackonce_sqlite::{FileState, FileSystem, Fuse, SqliteSurvey, Synchronous, TablesState};

use crate::doctor::checks::Check;
use crate::doctor::checks::sqlite as check;
use crate::doctor::exam::{Exam, Subject, size, skewed, when};

/// Twice the size that the log is cut to when it starts over.
const LOG: u64 = 128 << 20;
const FREE: u64 = 64 << 20;
const ENOUGH: u64 = 1 << 30;
/// The checks that the inside of the file decides.
const OF_INSIDE: [&Check; 5] =
    [&check::SCHEMA, &check::JOURNAL, &check::RESERVE, &check::MAX_BYTES, &check::CLOCK];

pub(in crate::doctor) fn judge(survey: &SqliteSurvey, deep: bool, exam: &mut Exam) {
    let path = survey.path.display();
    let mut store = exam.of("store");
    store.look(&check::MISSING, when(survey.bytes.is_none(), || format!("{path} does not exist")));
    place(survey, &mut store);
    let fault = when(survey.synchronous == Synchronous::Normal, || "synchronous=normal".to_owned());
    store.look(&check::SYNCHRONOUS, fault);
    let log = survey.log_bytes;
    store.look(&check::LOG_SIZE, when(log > LOG, || format!("{path}-wal has {}", size(log))));
    match &survey.inside {
        None => {}
        Some(Ok(inside)) => {
            judge_inside(survey, inside, &mut store);
            if deep {
                store.look(&check::DAMAGED, inside.damage.clone());
            }
        }
        Some(Err(why)) if why.contains("malformed") || why.contains("not a database") => {
            store.look(&check::DAMAGED, Some(why.clone()));
        }
        Some(Err(why)) => store.cannot_all(&OF_INSIDE, why),
    }
}

fn place(survey: &SqliteSurvey, store: &mut Subject<'_>) {
    let path = survey.path.display();
    let directory = survey.path.parent().map(|parent| parent.display().to_string()).unwrap_or_default();
    let missing = survey.filesystem.is_none();
    let fault = when(missing || !survey.directory_writable, || match missing {
        true => format!("{directory} does not exist"),
        false => format!("{directory} is not writable for this user"),
    });
    store.look(&check::DIRECTORY, fault);
    let fault = when(!survey.file_writable, || format!("{path} is not writable for this user"));
    store.look(&check::READ_ONLY, fault);
    let fault = when(survey.world_writable, || format!("{path} is writable for all users"));
    store.look(&check::WORLD_WRITABLE, fault);
    let kind = survey.filesystem;
    let shared = match kind {
        Some(FileSystem::Shared(name)) => Some(format!("{directory} is on {name}")),
        _ => None,
    };
    store.look(&check::SHARED, shared);
    let allowed = if survey.fuse == Fuse::Allow { "allow" } else { "refuse" };
    let fault = when(kind == Some(FileSystem::Fuse), || format!("{directory} is on FUSE, fuse={allowed}"));
    store.look(&check::FUSE, fault);
    let fault = when(kind == Some(FileSystem::Memory), || format!("{directory} is on tmpfs"));
    store.look(&check::TMPFS, fault);
    let fault = when(kind == Some(FileSystem::Container), || format!("{directory} is on overlayfs"));
    store.look(&check::CONTAINER, fault);
    let full = survey.disk.filter(|(total, free)| *free < FREE || *free < ENOUGH.min(total / 20));
    store.look(&check::DISK, full.map(|(total, free)| format!("{} of {} are free", size(free), size(total))));
}

fn judge_inside(survey: &SqliteSurvey, inside: &FileState, store: &mut Subject<'_>) {
    let path = survey.path.display();
    let version = match inside.tables {
        TablesState::Missing | TablesState::Known => None,
        TablesState::Newer(version) => Some(format!("version {version}, made by a newer program")),
        TablesState::Unknown => Some("ackonce_meta has no version that is read".to_owned()),
    };
    store.look(&check::SCHEMA, version);
    let has_tables = inside.tables == TablesState::Known;
    let fault = when(has_tables && inside.has_log == Some(false), || format!("{path} is in a rollback mode"));
    store.look(&check::JOURNAL, fault);
    store.look(
        &check::RESERVE,
        when(has_tables && !survey.has_reserve, || format!("{path}-reserve does not exist")),
    );
    let full = survey.max_bytes.filter(|most| inside.used_bytes > most - most / 10);
    store.look(
        &check::MAX_BYTES,
        full.map(|most| format!("{} of max_bytes={most} are used", inside.used_bytes)),
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
    let ahead = inside.latest_us.saturating_sub(now).max(0);
    store.look(&check::CLOCK, skewed(ahead, 0).map(|text| format!("its latest record is {text}")));
}
