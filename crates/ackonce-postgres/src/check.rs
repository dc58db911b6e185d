//! What is looked at when a store connects: whether the server can keep what it confirms.

use ackonce::{Error, ErrorKind, Result};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::error::statement;
use crate::{SchemaName, Unsafe};

/// Before it a scan of a range of pages reads the whole table.
const OLDEST: i32 = 140_000;

const LOOK: &str = "SELECT current_setting('server_version_num')::int4 AS version, pg_is_in_recovery() AS standby, \
    current_setting('transaction_read_only') AS read_only, current_setting('fsync') AS fsync, \
    current_setting('full_page_writes') AS full_page_writes, \
    current_setting('synchronous_commit') AS synchronous_commit, \
    current_setting('synchronous_standby_names') <> '' AS synchronous, \
    EXISTS (SELECT 1 FROM pg_stat_replication) AS replicated";

const UNLOGGED: &str = "SELECT EXISTS (SELECT 1 FROM pg_class WHERE relpersistence <> 'p' AND oid IN \
    (to_regclass($1 || '.record'), to_regclass($1 || '.meta')))";

/// What the server says of itself.
struct Server {
    version: i32,
    standby: bool,
    read_only: bool,
    fsync: bool,
    full_page_writes: bool,
    synchronous_commit: String,
    synchronous: bool,
    replicated: bool,
}

/// Refuses a server that cannot record, or by policy one that may forget; what weakens the promise.
pub(crate) async fn server(client: &Client, policy: Unsafe) -> Result<Vec<String>> {
    let row = client.query_typed_one(LOOK, &[]).await.and_then(|row| read(&row));
    judge(&row.map_err(|e| statement("looking at the server", e))?, policy)
}

fn read(row: &Row) -> std::result::Result<Server, tokio_postgres::Error> {
    let is_on = |name: &str| row.try_get::<_, &str>(name).map(|value| value == "on");
    Ok(Server {
        version: row.try_get("version")?,
        standby: row.try_get("standby")?,
        read_only: is_on("read_only")?,
        fsync: is_on("fsync")?,
        full_page_writes: is_on("full_page_writes")?,
        synchronous_commit: row.try_get("synchronous_commit")?,
        synchronous: row.try_get("synchronous")?,
        replicated: row.try_get("replicated")?,
    })
}

fn judge(server: &Server, policy: Unsafe) -> Result<Vec<String>> {
    if server.version < OLDEST {
        let message =
            format!("postgres: the server is version {}, 14 or newer is needed", server.version / 10_000);
        return Err(Error::new(ErrorKind::Config, message));
    }
    // Nothing can be downgraded here: no claim can be recorded, and an old copy must not be asked.
    if server.standby || server.read_only {
        let message = match server.standby {
            true => {
                "the server is a standby; connect to the primary (target_session_attrs=read-write finds it)"
            }
            false => "transactions are read-only here (default_transaction_read_only)",
        };
        return Err(Error::new(ErrorKind::ReadOnly, format!("postgres: {message}")));
    }
    let mut weaknesses = Vec::new();
    if !server.fsync {
        dangerous(
            "fsync=off: a crash of the server's machine loses or damages everything",
            policy,
            &mut weaknesses,
        )?;
    }
    if !server.full_page_writes {
        dangerous(
            "full_page_writes=off: a crash of the server's machine may damage records",
            policy,
            &mut weaknesses,
        )?;
    }
    let failover = match (server.synchronous, server.replicated, server.synchronous_commit.as_str()) {
        (false, true, _) => Some("its replicas are asynchronous"),
        (true, _, "local") => Some("synchronous_commit=local does not wait for its synchronous replicas"),
        (true, _, "remote_write") => {
            Some("synchronous_commit=remote_write does not wait for the replicas' disks")
        }
        _ => None,
    };
    if let Some(why) = failover {
        weaknesses.push(format!("a failover of the server forgets the latest records: {why}"));
    }
    Ok(weaknesses)
}

/// The same of the tables: an unlogged one is emptied by a crash.
pub(crate) async fn tables(client: &Client, schema: &SchemaName, policy: Unsafe) -> Result<Vec<String>> {
    let row = client.query_typed_one(UNLOGGED, &[(&schema.quoted(), Type::TEXT)]).await;
    let unlogged: bool =
        row.and_then(|row| row.try_get(0)).map_err(|e| statement("looking at the tables", e))?;
    let mut weaknesses = Vec::new();
    if unlogged {
        dangerous("the tables are unlogged: a crash of the server empties them", policy, &mut weaknesses)?;
    }
    Ok(weaknesses)
}

fn dangerous(what: &str, policy: Unsafe, weaknesses: &mut Vec<String>) -> Result<()> {
    match policy {
        Unsafe::Refuse => {
            let message = format!("postgres: {what} (Unsafe::Downgrade accepts that)");
            Err(Error::new(ErrorKind::Config, message))
        }
        Unsafe::Downgrade => {
            weaknesses.push(what.to_owned());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durable() -> Server {
        Server {
            version: 150_018,
            standby: false,
            read_only: false,
            fsync: true,
            full_page_writes: true,
            synchronous_commit: "on".into(),
            synchronous: false,
            replicated: false,
        }
    }

    #[test]
    fn a_server_with_its_defaults_has_no_weakness() {
        assert!(judge(&durable(), Unsafe::Refuse).unwrap().is_empty());
        // Set per transaction, whatever the role's default.
        let off = Server { synchronous_commit: "off".into(), ..durable() };
        assert!(judge(&off, Unsafe::Refuse).unwrap().is_empty());
    }

    #[test]
    fn a_server_that_cannot_record_is_refused_by_every_policy() {
        for policy in [Unsafe::Refuse, Unsafe::Downgrade] {
            for server in [Server { standby: true, ..durable() }, Server { read_only: true, ..durable() }] {
                assert_eq!(judge(&server, policy).unwrap_err().kind(), ErrorKind::ReadOnly);
            }
            let old = Server { version: 130_000, ..durable() };
            assert!(judge(&old, policy).unwrap_err().to_string().contains("version 13, 14 or newer"));
        }
    }

    #[test]
    fn a_server_that_may_forget_is_refused_or_downgraded() {
        for server in [Server { fsync: false, ..durable() }, Server { full_page_writes: false, ..durable() }]
        {
            let error = judge(&server, Unsafe::Refuse).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert_eq!(judge(&server, Unsafe::Downgrade).unwrap().len(), 1);
        }
    }

    #[test]
    fn what_a_failover_forgets_is_said() {
        let (synchronous, replicated) = (true, true);
        let commit = |level: &str| Server { synchronous, synchronous_commit: level.into(), ..durable() };
        let cases = [
            (Server { replicated, ..durable() }, 1),
            (commit("on"), 0),
            (commit("remote_apply"), 0),
            (commit("local"), 1),
            (commit("remote_write"), 1),
        ];
        for (server, expected) in cases {
            assert_eq!(judge(&server, Unsafe::Refuse).unwrap().len(), expected);
        }
    }
}
