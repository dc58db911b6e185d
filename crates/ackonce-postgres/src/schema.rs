//! The tables: their schema, their creation, and the check of their version.

use ackonce::{Error, ErrorKind, Result};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, GenericClient};

use crate::SchemaName;
use crate::error::{statement, unsent};
use crate::records::{NOW, OPEN, STATE, Salt, VERSION};

const TABLES: &str = include_str!("records/sql/schema.sql");
/// The advisory lock of a process that creates the tables: `ackonce` in ASCII.
const CREATING: i64 = 0x0061_636b_6f6e_6365;

fn tables(schema: &SchemaName) -> String {
    let text =
        TABLES.replace("{version}", &VERSION.to_string()).replace("{state}", STATE).replace("{now}", NOW);
    let text = text.replace("{open}", OPEN);
    text.replace("{schema}", schema.quoted())
}

/// All SQL of [`create`], to be run by hand.
pub(crate) fn sql(schema: &SchemaName) -> String {
    format!("BEGIN;\n\nCREATE SCHEMA {};\n\n{}\nCOMMIT;\n", schema.quoted(), tables(schema))
}

/// Creates the tables, and the schema if it is missing, in one transaction.
pub(crate) async fn create(client: &mut Client, schema: &SchemaName) -> Result<()> {
    let failed = |e| statement("creating the tables", e);
    // At a stricter default level the transaction would not see the tables that another process has just created.
    let level = tokio_postgres::IsolationLevel::ReadCommitted;
    let tx = client.build_transaction().isolation_level(level).start().await.map_err(unsent)?;
    tx.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&CREATING, Type::INT8)]).await.map_err(failed)?;
    if salt(&tx, schema).await?.is_some() {
        return Ok(());
    }
    let there = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
    if tx.query_typed_opt(there, &[(&schema.as_str(), Type::TEXT)]).await.map_err(failed)?.is_none() {
        tx.batch_execute(&format!("CREATE SCHEMA {}", schema.quoted())).await.map_err(failed)?;
    }
    tx.batch_execute(&tables(schema)).await.map_err(failed)?;
    tx.commit().await.map_err(failed)
}

/// The schema's secret; `None` if the tables are missing.
pub(crate) async fn salt(client: &impl GenericClient, schema: &SchemaName) -> Result<Option<Salt>> {
    let failed = |e| statement("reading the schema version", e);
    let meta = format!("{}.meta", schema.quoted());
    // to_regclass() may answer from a cache that is older than another process's CREATE TABLE.
    let there = "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1 AND c.relname = 'meta')";
    let exists: bool = client
        .query_typed_one(there, &[(&schema.as_str(), Type::TEXT)])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    if !exists {
        return Ok(None);
    }
    let text = format!("SELECT version, salt FROM {meta}");
    let row = match client.query_typed_opt(&text, &[]).await {
        Err(e) if e.code() == Some(&SqlState::UNDEFINED_COLUMN) => None,
        row => row.map_err(failed)?,
    };
    let known =
        row.and_then(|row| Some((row.try_get(0).ok()?, row.try_get::<_, &[u8]>(1).ok()?.try_into().ok()?)));
    match known {
        Some((VERSION, salt)) => Ok(Some(Salt(salt))),
        Some((other @ 1.., _)) => Err(another(schema, other)),
        _ => Err(Error::new(
            ErrorKind::Config,
            format!("postgres: the table {meta} is not one that this store made; choose another schema"),
        )),
    }
}

/// The error of tables of another version.
pub(crate) fn another(schema: &SchemaName, version: i32) -> Error {
    match version {
        VERSION => changed(schema),
        newer if newer > VERSION => Error::new(
            ErrorKind::NewerSchema,
            format!(
                "postgres: the records in schema {schema:?} were written by a newer version (schema version \
                 {newer}, known is {VERSION}); upgrade ackonce-postgres"
            ),
        ),
        older => Error::new(
            ErrorKind::Config,
            format!(
                "postgres: the records in schema {schema:?} are of schema version {older}, which came before the \
                 first release and is not read any more; choose another schema"
            ),
        ),
    }
}

/// The statement that reads the version, as text.
pub(crate) fn version_sql(schema: &SchemaName) -> String {
    format!("SELECT version::text AS line FROM {}.meta WHERE one", schema.quoted())
}

pub(crate) fn missing(schema: &SchemaName) -> Error {
    let message = format!(
        "postgres: the store's tables are missing in schema {schema:?}; create them with Tables::CreateMissing \
         (tables=create in a URL of the program's), with PostgresConfig::create_schema, or by hand with the output of \
         PostgresStore::schema_sql"
    );
    Error::new(ErrorKind::Config, message)
}

/// The error of tables whose version or secret has changed since this store connected.
pub(crate) fn changed(schema: &SchemaName) -> Error {
    let message = format!(
        "postgres: the tables in schema {schema:?} were migrated or made anew since this store connected to \
         them; connect again"
    );
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Texts;

    #[test]
    fn a_name_is_filled_in_as_it_is() {
        let schema = SchemaName::new("a--b {version} {now}").unwrap();
        assert!(sql(&schema).contains("CREATE TABLE \"a--b {version} {now}\".record ("));
        let claim = Texts::new(&schema).claim();
        assert!(claim.contains("INTO \"a--b {version} {now}\".record AS r (key"), "{claim}");
    }
}
