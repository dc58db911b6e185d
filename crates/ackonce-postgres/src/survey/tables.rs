//! The facts about the store's tables.

use ackonce::Result;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::SchemaName;
use crate::error::statement;
use crate::records::VERSION;

/// The statistics are those of the server's collector, and approximate.
const ASK: &str = "SELECT c.relpersistence <> 'p' AS unlogged, row_security_active(c.oid) AS row_security, \
    coalesce('autovacuum_enabled=false' = ANY (c.reloptions) OR 'autovacuum_enabled=off' = ANY (c.reloptions), false) \
        AS vacuum_off, \
    coalesce(s.n_live_tup, 0)::int8 AS live, coalesce(s.n_dead_tup, 0)::int8 AS dead, \
    pg_table_size(c.oid) AS bytes, pg_indexes_size(c.oid) AS index_bytes, \
    array(SELECT DISTINCT pg_get_userbyid(o.relowner)::text FROM pg_class o WHERE o.relnamespace = n.oid \
        AND o.relkind IN ('r', 'p') AND o.relname IN ('meta', 'record', 'name', 'audit')) AS owners, \
    array(SELECT 'USAGE ON SCHEMA' WHERE NOT has_schema_privilege(n.oid, 'USAGE') UNION ALL \
        SELECT p || ' ON ' || t.relname FROM pg_class t, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p \
        WHERE t.relnamespace = n.oid AND t.relname IN ('record', 'name') AND NOT has_table_privilege(t.oid, p) UNION ALL \
        SELECT 'SELECT ON meta' FROM pg_class t WHERE t.relnamespace = n.oid AND t.relname = 'meta' \
        AND NOT has_table_privilege(t.oid, 'SELECT')) AS missing \
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'record' \
    LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE n.nspname = $1";

/// The version of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TablesVersion {
    /// The one that this code reads and writes.
    Known,
    /// A later one.
    Newer(i32),
    /// An earlier one, which this code does not read.
    Older(i32),
    /// No version of the store's made them.
    Foreign,
    /// The role may not read it.
    Unreadable,
}

/// The state of the store's tables.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PostgresTables {
    /// Their version.
    pub version: TablesVersion,
    /// True if a crash empties the records.
    pub unlogged: bool,
    /// True if policies decide which records this role sees.
    pub row_security: bool,
    /// True if autovacuum is switched off for the records.
    pub vacuum_off: bool,
    /// The rows of the records, approximately.
    pub live: i64,
    /// The rows that wait for a vacuum, approximately.
    pub dead: i64,
    /// The size of the records' table in bytes.
    pub bytes: i64,
    /// The size of its indexes in bytes.
    pub index_bytes: i64,
    /// The owners of the tables; more than one is a sign of a migration that was half run by somebody else.
    pub owners: Vec<String>,
    /// The privileges that the role lacks, such as `INSERT ON record`.
    pub missing_rights: Vec<String>,
}

/// `None` if the table of the records is missing.
pub(super) async fn read(client: &Client, schema: &SchemaName) -> Result<Option<PostgresTables>> {
    let failed = |e| statement("reading the tables' state", e);
    let row = client.query_typed_opt(ASK, &[(&schema.as_str(), Type::TEXT)]).await.map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let mut tables = state(&row).map_err(failed)?;
    let readable =
        !tables.missing_rights.iter().any(|right| right.ends_with("SCHEMA") || right.ends_with("meta"));
    if readable {
        tables.version = version(client, schema).await;
    }
    Ok(Some(tables))
}

fn state(row: &Row) -> Result<PostgresTables, tokio_postgres::Error> {
    Ok(PostgresTables {
        version: TablesVersion::Unreadable,
        unlogged: row.try_get("unlogged")?,
        row_security: row.try_get("row_security")?,
        vacuum_off: row.try_get("vacuum_off")?,
        live: row.try_get("live")?,
        dead: row.try_get("dead")?,
        bytes: row.try_get("bytes")?,
        index_bytes: row.try_get("index_bytes")?,
        owners: row.try_get("owners")?,
        missing_rights: row.try_get("missing")?,
    })
}

/// Tables without that column, or that row, are somebody else's.
async fn version(client: &Client, schema: &SchemaName) -> TablesVersion {
    let text = format!("SELECT version FROM {}.meta", schema.quoted());
    let row = client.query_typed_opt(&text, &[]).await.ok().flatten();
    match row.and_then(|row| row.try_get::<_, i32>(0).ok()) {
        Some(VERSION) => TablesVersion::Known,
        Some(newer) if newer > VERSION => TablesVersion::Newer(newer),
        Some(older) => TablesVersion::Older(older),
        None => TablesVersion::Foreign,
    }
}
