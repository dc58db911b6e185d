//! The Postgres store, and a table of IDs by hand.

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::Inspect;
use ackonce_postgres::tokio_postgres::{Client, NoTls, Statement, connect};
use ackonce_postgres::{PostgresConfig, SchemaName, Tables};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use super::subject::{ByHand, Subject};

/// Patient with a server that shares its cores with the measurement.
const PATIENCE: Duration = Duration::from_secs(60);
const SETTINGS: &str = "SELECT name, current_setting(name) FROM unnest(ARRAY['server_version', 'shared_buffers', \
                        'synchronous_commit', 'fsync', 'max_wal_size']) AS name";

pub(super) struct Postgres<'r> {
    url: String,
    runtime: &'r Runtime,
    client: Client,
    schemas: Vec<String>,
}

impl<'r> Postgres<'r> {
    pub(super) fn connect(url: &str, runtime: &'r Runtime) -> anyhow::Result<Self> {
        Ok(Self { url: url.to_owned(), runtime, client: client(url, runtime)?, schemas: Vec::new() })
    }

    fn schema(&mut self, name: &str) -> String {
        let schema = format!("bench_{}_{name}", std::process::id());
        self.schemas.push(schema.clone());
        schema
    }

    fn execute(&self, sql: &str) -> anyhow::Result<()> {
        Ok(self.runtime.block_on(self.client.batch_execute(sql))?)
    }
}

fn client(url: &str, runtime: &Runtime) -> anyhow::Result<Client> {
    let (client, connection) = runtime.block_on(connect(url, NoTls))?;
    runtime.spawn(connection);
    Ok(client)
}

impl Subject for Postgres<'_> {
    fn name(&self) -> &'static str {
        "Postgres"
    }

    fn settings(&mut self) -> anyhow::Result<Value> {
        let rows = self.runtime.block_on(self.client.query(SETTINGS, &[]))?;
        let mut settings: Map<String, Value> = rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get::<_, String>(1)?.into())))
            .collect::<anyhow::Result<_>>()?;
        settings.insert("ackonce-postgres".into(), env!("CARGO_PKG_VERSION").into());
        settings.insert("cores".into(), json!(std::thread::available_parallelism()?.get()));
        Ok(settings.into())
    }

    fn open(&mut self, name: &str) -> anyhow::Result<Arc<dyn Inspect>> {
        let schema = SchemaName::new(self.schema(name))?;
        let config = PostgresConfig::new(&self.url)?.with_schema(schema).with_tables(Tables::CreateMissing);
        let connecting = config.with_request_timeout(PATIENCE).connect();
        Ok(Arc::new(self.runtime.block_on(connecting)?))
    }

    /// Autovacuum looks once a minute, and waits for as many dead rows as the table says in its settings; each message
    /// leaves one.
    fn between_tidying(&self, count: u64) -> u64 {
        (5000 + count * 3 / 100).max(60_000)
    }

    fn tidy(&mut self, name: &str) -> anyhow::Result<()> {
        self.execute(&format!("VACUUM bench_{}_{name}.record", std::process::id()))
    }

    /// Of the tables and their indexes.
    fn bytes(&mut self) -> anyhow::Result<u64> {
        let sql = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 FROM pg_class c \
                   JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = ANY ($1)";
        let row = self.runtime.block_on(self.client.query_one(sql, &[&self.schemas]))?;
        Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
    }

    fn by_hand(&mut self) -> anyhow::Result<Option<Box<dyn ByHand>>> {
        let schema = self.schema("by_hand");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = client(&self.url, &runtime)?;
        let (claim, done) = runtime.block_on(async {
            let table =
                "CREATE TABLE processed (id text PRIMARY KEY, done bool NOT NULL, at timestamptz NOT NULL)";
            let create = format!("CREATE SCHEMA {schema}; SET search_path = {schema}; {table}");
            client.batch_execute(&create).await?;
            let claim = "INSERT INTO processed SELECT id, false, now() FROM unnest($1::text[]) AS id \
                         ON CONFLICT (id) DO NOTHING RETURNING id";
            let done = "UPDATE processed SET done = true WHERE id = ANY ($1::text[])";
            anyhow::Ok((client.prepare(claim).await?, client.prepare(done).await?))
        })?;
        Ok(Some(Box::new(Table { runtime, client, claim, done })))
    }
}

impl Drop for Postgres<'_> {
    /// Removes the records made there.
    fn drop(&mut self) {
        for schema in std::mem::take(&mut self.schemas) {
            if let Err(error) = self.execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")) {
                eprintln!("Postgres: the schema {schema} was left behind: {error}");
            }
        }
    }
}

/// One statement for each trip.
struct Table {
    runtime: Runtime,
    client: Client,
    claim: Statement,
    done: Statement,
}

impl ByHand for Table {
    fn claim(&mut self, ids: &[String]) -> anyhow::Result<usize> {
        Ok(self.runtime.block_on(self.client.query(&self.claim, &[&ids]))?.len())
    }

    fn done(&mut self, ids: &[String]) -> anyhow::Result<()> {
        self.runtime.block_on(self.client.execute(&self.done, &[&ids]))?;
        Ok(())
    }
}
