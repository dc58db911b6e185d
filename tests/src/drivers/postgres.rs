//! tokio-postgres.

use ackonce::{Context, Failure, Handler};
use ackonce_outbox::{Outgoing, PostgresOutbox};
use ackonce_postgres::deadpool_postgres::{Config, PoolConfig, Runtime, Timeouts};
use ackonce_postgres::tokio_postgres::{self, NoTls, Transaction};
use ackonce_postgres::{Entered, PostgresGuard, PostgresStore};
use async_trait::async_trait;

use super::acts::{Act, Ends, Hand, perform};
use super::{GuardRun, Guarded, Pool, Script, not_first};

pub(super) fn inbox<M: Send + 'static>(
    store: &PostgresStore,
    pool: &Pool,
    script: Script<M>,
) -> impl Handler<M> + use<M> {
    let mut config = Config::new();
    config.url = Some(pool.url.clone());
    let timeouts = Timeouts { wait: Some(pool.wait), ..Timeouts::default() };
    config.pool = Some(PoolConfig { max_size: pool.connections, timeouts, ..PoolConfig::default() });
    let made = config.create_pool(Some(Runtime::Tokio1), NoTls).unwrap();
    let inbox = store.inbox(move |tx: &Transaction<'_>, cx: Context, message: M| {
        let acts = script(&cx, message);
        Box::pin(perform(PostgresHand(tx), acts))
    });
    inbox.with_settings(pool.settings.clone()).with_pool(made)
}

/// Performs acts in a transaction of tokio-postgres.
///
/// # Errors
/// Of a statement, and the failures among the acts.
pub async fn perform_in(tx: &Transaction<'_>, acts: Vec<Act>) -> Result<(), Failure> {
    perform(PostgresHand(tx), acts).await
}

struct PostgresHand<'t>(&'t Transaction<'t>);

#[async_trait]
impl Hand for PostgresHand<'_> {
    async fn run(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.0.batch_execute(text).await?)
    }

    async fn nested(&mut self, text: &str, ends: Ends) -> Result<(), Failure> {
        self.0.batch_execute("SAVEPOINT mine").await?;
        self.0.batch_execute(text).await?;
        match ends {
            Ends::Committed => self.0.batch_execute("RELEASE SAVEPOINT mine").await?,
            Ends::RolledBack | Ends::Dropped => self.0.batch_execute("ROLLBACK TO SAVEPOINT mine").await?,
            Ends::LeftOpen => {}
        }
        Ok(())
    }

    async fn publish(&mut self, outbox: &PostgresOutbox, all: &[Outgoing]) -> ackonce::Result<Vec<String>> {
        match all {
            [one] => Ok(vec![outbox.publish(self.0, one).await?]),
            all => outbox.publish_all(self.0, all).await,
        }
    }
}

pub(super) async fn guard(run: &GuardRun) -> Guarded {
    let (mut client, connection) = tokio_postgres::connect(&run.url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let tx = client.transaction().await.unwrap();
    match PostgresGuard::enter_in(&run.schema, &tx, &run.key, &run.options).await {
        Ok(Entered::First(guard)) => {
            for text in &run.statements {
                let _ = tx.batch_execute(text).await;
            }
            match guard.with_outcome("out".into()).finish(&tx).await {
                Ok(()) => tx.commit().await.map(|()| Guarded::Committed).unwrap(),
                Err(error) => Guarded::Refused(error),
            }
        }
        Ok(other) => not_first(other),
        Err(error) => Guarded::Refused(error),
    }
}

pub(super) async fn produce(url: &str, acts: Vec<Act>, commit: bool) -> Result<(), Failure> {
    let (mut client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let tx = client.transaction().await?;
    perform_in(&tx, acts).await?;
    if commit {
        tx.commit().await?
    } else {
        tx.rollback().await?
    }
    Ok(())
}
