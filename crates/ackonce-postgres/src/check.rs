//! Checks that a server keeps the records that it confirms, on each new connection: after a failover that
//! leads to another one, and settings may have changed since.

use std::sync::{Mutex, PoisonError};

use ackonce::store::OnUnsafe;
use ackonce::{Error, ErrorKind, Result};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::error::statement;
use crate::{PostgresConfig, SchemaName};

/// Older servers read the whole table to scan a range of its pages.
const OLDEST: i32 = 140_000;

const LOOK: &str = "SELECT current_setting('server_version_num')::int4 AS version, pg_is_in_recovery() AS standby, \
    current_setting('transaction_read_only') AS read_only, current_setting('fsync') AS fsync, \
    current_setting('full_page_writes') AS full_page_writes, \
    current_setting('zero_damaged_pages') AS zero_damaged_pages, \
    current_setting('server_encoding') AS encoding, \
    current_setting('synchronous_commit') AS synchronous_commit, \
    current_setting('synchronous_standby_names') <> '' AS synchronous, \
    EXISTS (SELECT 1 FROM pg_stat_replication) AS replicated";

const UNLOGGED: &str = "SELECT EXISTS (SELECT 1 FROM pg_class WHERE relpersistence <> 'p' AND oid IN \
    (to_regclass($1 || '.record'), to_regclass($1 || '.meta')))";

/// The checks of one store, and the weaknesses that they found last.
#[derive(Debug)]
pub(crate) struct Checks {
    schema: SchemaName,
    policy: OnUnsafe,
    weaknesses: Mutex<Option<Vec<String>>>,
}

impl Checks {
    pub(crate) fn new(config: &PostgresConfig) -> Self {
        Self { schema: config.schema.clone(), policy: config.on_unsafe, weaknesses: Mutex::default() }
    }

    /// Everything that weakens the promise on the server that was connected to last.
    pub(crate) fn weaknesses(&self) -> Vec<String> {
        self.weaknesses.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    /// Refuses a server that cannot record, or by policy one that may forget.
    pub(crate) async fn run(&self, client: &Client) -> Result<()> {
        let mut found = server(client, self.policy).await?;
        found.extend(tables(client, &self.schema, self.policy).await?);
        let before = {
            let mut weaknesses = self.weaknesses.lock().unwrap_or_else(PoisonError::into_inner);
            weaknesses.replace(found.clone())
        };
        // The first ones are printed when the consumer starts.
        if before.is_some_and(|before| before != found) {
            let weaknesses = found.join("; ");
            match found.is_empty() {
                true => {
                    tracing::warn!(target: "ackonce", "postgres: the server of a new connection has no weakness")
                }
                false => {
                    tracing::warn!(target: "ackonce", weaknesses, "postgres: the server of a new connection has other weaknesses")
                }
            }
        }
        Ok(())
    }
}

/// The server's settings that the checks read.
struct Server {
    version: i32,
    standby: bool,
    read_only: bool,
    fsync: bool,
    full_page_writes: bool,
    zero_damaged_pages: bool,
    encoding: String,
    synchronous_commit: String,
    synchronous: bool,
    replicated: bool,
}

async fn server(client: &Client, policy: OnUnsafe) -> Result<Vec<String>> {
    let row = client.query_typed_one(LOOK, &[]).await.and_then(|row| read(&row));
    check_server(&row.map_err(|e| statement("reading the server's settings", e))?, policy)
}

fn read(row: &Row) -> std::result::Result<Server, tokio_postgres::Error> {
    let is_on = |name: &str| row.try_get::<_, &str>(name).map(|value| value == "on");
    Ok(Server {
        version: row.try_get("version")?,
        standby: row.try_get("standby")?,
        read_only: is_on("read_only")?,
        fsync: is_on("fsync")?,
        full_page_writes: is_on("full_page_writes")?,
        zero_damaged_pages: is_on("zero_damaged_pages")?,
        encoding: row.try_get("encoding")?,
        synchronous_commit: row.try_get("synchronous_commit")?,
        synchronous: row.try_get("synchronous")?,
        replicated: row.try_get("replicated")?,
    })
}

fn check_server(server: &Server, policy: OnUnsafe) -> Result<Vec<String>> {
    if server.version < OLDEST {
        let message =
            format!("postgres: the server is version {}, 14 or newer is needed", server.version / 10_000);
        return Err(Error::new(ErrorKind::Config, message));
    }
    // No policy accepts this: the server cannot record a claim, and a standby's copy may be out of date.
    if server.standby || server.read_only {
        let message = match server.standby {
            true => {
                "the server is a standby; connect to the primary (target_session_attrs=read-write finds it)"
            }
            false => "transactions are read-only here (default_transaction_read_only)",
        };
        return Err(Error::new(ErrorKind::ReadOnly, format!("postgres: {message}")));
    }
    // SQL_ASCII keeps the bytes that it is given.
    if !["UTF8", "SQL_ASCII"].contains(&server.encoding.as_str()) {
        let message = format!(
            "postgres: the database's encoding is {} (server_encoding), which cannot hold every scope and reason; use \
             a database that was created with ENCODING 'UTF8'",
            server.encoding
        );
        return Err(Error::new(ErrorKind::Config, message));
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
    if server.zero_damaged_pages {
        dangerous("zero_damaged_pages=on: damaged records are forgotten silently", policy, &mut weaknesses)?;
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

/// A crash empties an unlogged table. Missing tables are reported later.
async fn tables(client: &Client, schema: &SchemaName, policy: OnUnsafe) -> Result<Vec<String>> {
    let row = client.query_typed_one(UNLOGGED, &[(&schema.quoted(), Type::TEXT)]).await;
    let unlogged: bool =
        row.and_then(|row| row.try_get(0)).map_err(|e| statement("checking the tables", e))?;
    let mut weaknesses = Vec::new();
    if unlogged {
        dangerous("the tables are unlogged: a crash of the server empties them", policy, &mut weaknesses)?;
    }
    Ok(weaknesses)
}

fn dangerous(what: &str, policy: OnUnsafe, weaknesses: &mut Vec<String>) -> Result<()> {
    match policy {
        OnUnsafe::Refuse => {
            let message =
                format!("postgres: {what} (OnUnsafe::Downgrade, or unsafe=downgrade in a URL, accepts that)");
            Err(Error::new(ErrorKind::Config, message))
        }
        OnUnsafe::Downgrade => {
            weaknesses.push(what.to_owned());
            Ok(())
        }
    }
}

/// Refuses, by policy, a server of an inbox's transaction that may forget.
pub(crate) fn keeps(keeps: bool, policy: OnUnsafe) -> Result<()> {
    match keeps {
        true => Ok(()),
        false => dangerous(
            "the server of an inbox's transaction has fsync=off, full_page_writes=off or zero_damaged_pages=on",
            policy,
            &mut Vec::new(),
        ),
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
            zero_damaged_pages: false,
            encoding: "UTF8".into(),
            synchronous_commit: "on".into(),
            synchronous: false,
            replicated: false,
        }
    }

    #[test]
    fn a_server_with_its_defaults_has_no_weakness() {
        assert!(check_server(&durable(), OnUnsafe::Refuse).unwrap().is_empty());
        // The store sets it in each transaction and so overrides the role's default.
        let off = Server { synchronous_commit: "off".into(), ..durable() };
        assert!(check_server(&off, OnUnsafe::Refuse).unwrap().is_empty());
    }

    #[test]
    fn a_server_that_cannot_record_is_refused_by_every_policy() {
        for policy in [OnUnsafe::Refuse, OnUnsafe::Downgrade] {
            for server in [Server { standby: true, ..durable() }, Server { read_only: true, ..durable() }] {
                assert_eq!(check_server(&server, policy).unwrap_err().kind(), ErrorKind::ReadOnly);
            }
            let old = Server { version: 130_000, ..durable() };
            assert!(check_server(&old, policy).unwrap_err().to_string().contains("version 13, 14 or newer"));
        }
    }

    #[test]
    fn a_server_that_may_forget_is_refused_or_downgraded() {
        for server in [
            Server { fsync: false, ..durable() },
            Server { full_page_writes: false, ..durable() },
            Server { zero_damaged_pages: true, ..durable() },
        ] {
            let error = check_server(&server, OnUnsafe::Refuse).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert_eq!(check_server(&server, OnUnsafe::Downgrade).unwrap().len(), 1);
        }
    }

    #[test]
    fn an_encoding_that_cannot_hold_a_reason_is_refused_by_its_name() {
        for (encoding, is_good) in [("UTF8", true), ("SQL_ASCII", true), ("LATIN1", false), ("EUC_JP", false)]
        {
            let server = Server { encoding: encoding.into(), ..durable() };
            match check_server(&server, OnUnsafe::Downgrade) {
                Ok(_) => assert!(is_good, "{encoding}"),
                Err(e) => assert!(!is_good && e.to_string().contains(encoding), "{e}"),
            }
        }
    }

    #[test]
    fn the_records_that_a_failover_forgets_are_named() {
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
            assert_eq!(check_server(&server, OnUnsafe::Refuse).unwrap().len(), expected);
        }
    }
}
