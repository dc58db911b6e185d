//! PostgreSQL: its settings, its sessions and the state of the tables.

use ackonce_postgres::{Pooling, PostgresSurvey, PostgresTables, Prepare, Tables, TablesVersion};

use crate::doctor::checks::postgres as check;
use crate::doctor::exam::{Exam, Subject, size, skewed, when};

/// The oldest version that the store takes, as `server_version_num` has it.
const OLDEST: u32 = 140_000;
/// Dead rows that any table may have between two vacuums.
const DEAD_ROWS: i64 = 50_000;
/// The room of a row with its index entry, rounded up; and the size below which bloat does not matter.
const ROW_BYTES: u64 = 200;
const SMALL: u64 = 16 << 20;

pub(in crate::doctor) fn judge(survey: &PostgresSurvey, exam: &mut Exam) {
    let mut store = exam.of("store");
    server(survey, &mut store);
    durability(survey, &mut store);
    sessions(survey, &mut store);
    let Some(tables) = &survey.tables else {
        let may_create = survey.on_missing == Tables::CreateMissing;
        let fault = when(!may_create, || format!("none in schema {:?}, tables=expected", survey.schema));
        return store.look(&check::TABLES, fault);
    };
    store.look(&check::TABLES, None);
    judge_tables(survey, tables, &mut store);
}

fn server(survey: &PostgresSurvey, store: &mut Subject<'_>) {
    let version: u32 = survey.setting("server_version_num").parse().unwrap_or(OLDEST);
    store.look(&check::VERSION, when(version < OLDEST, || format!("server_version_num {version}")));
    store.look(&check::STANDBY, when(survey.standby, || "pg_is_in_recovery() is true".to_owned()));
    let read_only = survey.setting("default_transaction_read_only") == "on" && !survey.standby;
    store.look(&check::READ_ONLY, when(read_only, || "default_transaction_read_only=on".to_owned()));
    let encoding = survey.setting("server_encoding");
    let is_known = ["UTF8", "SQL_ASCII"].contains(&encoding);
    store.look(&check::ENCODING, when(!is_known, || format!("server_encoding={encoding}")));
    store.look(&check::ASCII, when(encoding == "SQL_ASCII", || format!("server_encoding={encoding}")));
    store.look(&check::CLOCK, skewed(survey.clock_ahead_us, survey.clock_error_us));
    let unlimited = survey.setting("max_slot_wal_keep_size") == "-1";
    let slots = &survey.idle_slots;
    store.look(&check::SLOTS, when(unlimited && !slots.is_empty(), || slots.join(", ")));
}

fn durability(survey: &PostgresSurvey, store: &mut Subject<'_>) {
    for (check, name, sound) in [
        (&check::FSYNC, "fsync", "on"),
        (&check::FULL_PAGES, "full_page_writes", "on"),
        (&check::DAMAGED_PAGES, "zero_damaged_pages", "off"),
    ] {
        let value = survey.setting(name);
        store.look(check, when(value != sound, || format!("{name}={value}")));
    }
    let commit = survey.setting("synchronous_commit");
    store.look(&check::COMMIT, when(commit == "off", || "synchronous_commit=off".to_owned()));
    let standbys = survey.setting("synchronous_standby_names");
    let waits = !standbys.is_empty() && !["local", "remote_write", "off"].contains(&commit);
    let fault = when((survey.replicated || !standbys.is_empty()) && !waits, || {
        format!("synchronous_standby_names={standbys:?}, synchronous_commit={commit}")
    });
    store.look(&check::FAILOVER, fault);
}

fn sessions(survey: &PostgresSurvey, store: &mut Subject<'_>) {
    match (survey.pooling, survey.prepare) {
        (Pooling::Unknown, _) => {
            store.cannot(&check::POOLER, "a second connection, or a transaction on it, was not to be had");
        }
        (Pooling::TransactionUnprepared, Prepare::Cached) => store.look(
            &check::POOLER,
            Some("prepare=cached behind a pooler that loses prepared statements".to_owned()),
        ),
        _ => store.look(&check::POOLER, None),
    }
    let isolation = survey.setting("default_transaction_isolation");
    let fault = when(isolation != "read committed", || format!("default_transaction_isolation={isolation}"));
    store.look(&check::ISOLATION, fault);
    let timeout = millis(survey.setting("statement_timeout"));
    let limit = survey.request_timeout.as_millis();
    let fault = when(timeout.is_some_and(|timeout| timeout < limit), || {
        format!("statement_timeout={}, request_timeout_ms={limit}", survey.setting("statement_timeout"))
    });
    store.look(&check::STATEMENT_TIMEOUT, fault);
    let wanted = i64::try_from(survey.connections).unwrap_or(i64::MAX);
    let fault = survey.free_connections.filter(|free| *free < wanted).map(|free| {
        format!("{} more connections for the role {}, connections={wanted}", free.max(0), survey.role)
    });
    store.look(&check::CONNECTIONS, fault);
    let off = ["autovacuum", "track_counts"].into_iter().filter(|name| survey.setting(name) == "off");
    let mut off: Vec<_> = off.map(|name| format!("{name}=off")).collect();
    if survey.tables.as_ref().is_some_and(|tables| tables.vacuum_off) {
        off.push(format!("autovacuum_enabled=off of {}.record", survey.schema));
    }
    store.look(&check::AUTOVACUUM, when(!off.is_empty(), || off.join(", ")));
}

/// A time as the server shows it: `1500ms`, `30s`, `2min`; `None` for 0, which is no limit.
fn millis(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u128 = text[..end].parse().ok()?;
    let unit = match &text[end..] {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => 86_400_000,
    };
    Some(number * unit).filter(|ms| *ms > 0)
}

fn judge_tables(survey: &PostgresSurvey, tables: &PostgresTables, store: &mut Subject<'_>) {
    let version = match tables.version {
        TablesVersion::Known => None,
        TablesVersion::Newer(version) => Some(format!("version {version}, made by a newer program")),
        TablesVersion::Older(version) => Some(format!("version {version}, made by an older program")),
        TablesVersion::Foreign => Some(format!("{}.meta was not made by this store", survey.schema)),
        TablesVersion::Unreadable => {
            store.cannot(
                &check::SCHEMA,
                format!("the role {} may not read {}.meta", survey.role, survey.schema),
            );
            None
        }
    };
    if tables.version != TablesVersion::Unreadable {
        store.look(&check::SCHEMA, version);
    }
    let record = format!("{}.record", survey.schema);
    store.look(&check::UNLOGGED, when(tables.unlogged, || format!("{record} is unlogged")));
    store.look(
        &check::ROW_SECURITY,
        when(tables.row_security, || format!("row security of {record} is active for {}", survey.role)),
    );
    store.look(&check::OWNER, when(tables.owners.len() > 1, || tables.owners.join(", ")));
    let missing = &tables.missing_rights;
    store.look(
        &check::RIGHTS,
        when(!missing.is_empty(), || format!("{} lacks {}", survey.role, missing.join(", "))),
    );
    let behind = tables.dead > DEAD_ROWS && tables.dead > tables.live / 2;
    store.look(
        &check::DEAD_ROWS,
        when(behind, || format!("{} dead rows and {} live ones in {record}", tables.dead, tables.live)),
    );
    let bytes = (tables.bytes + tables.index_bytes).max(0).unsigned_abs();
    let expected = tables.live.max(0).unsigned_abs().saturating_mul(ROW_BYTES);
    // Dead rows are a finding of their own.
    let bloated = !behind && bytes > SMALL && bytes > expected.saturating_mul(4);
    store.look(
        &check::BLOAT,
        when(bloated, || format!("{} for {} rows in {record} and its indexes", size(bytes), tables.live)),
    );
}

#[cfg(test)]
mod tests {
    use super::millis;

    #[test]
    fn times_read_as_the_server_shows_them() {
        let times = ["0", "1500ms", "30s", "2min", "1h", "1d", "", "x"].map(millis);
        let (s, m) = (1000, 60_000);
        assert_eq!(
            times,
            [None, Some(1500), Some(30 * s), Some(2 * m), Some(60 * m), Some(86_400_000), None, None]
        );
    }
}
