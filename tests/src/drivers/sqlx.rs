//! sqlx.

use ackonce::{Context, Failure, Handler};
use ackonce_outbox::{Outgoing, PostgresOutbox};
use ackonce_postgres::PostgresStore;
use ackonce_sqlx::sqlx::postgres::PgPoolOptions;
use ackonce_sqlx::sqlx::{self, AssertSqlSafe, Connection, PgPool, PgTransaction};
use ackonce_sqlx::{Entered, SqlxGuard, SqlxInbox, SqlxOutbox};
use async_trait::async_trait;

use super::acts::{Act, Ends, Hand, perform};
use super::{GuardRun, Guarded, Pool, Script, not_first};

pub(super) fn inbox<M: Send + 'static>(
    store: &PostgresStore,
    pool: &Pool,
    script: Script<M>,
) -> impl Handler<M> + use<M> {
    let options = PgPoolOptions::new()
        .max_connections(u32::try_from(pool.connections).unwrap())
        .acquire_timeout(pool.wait);
    let made = options.connect_lazy(&pool.url).unwrap();
    let inbox = SqlxInbox::new(store, made, move |tx: &mut PgTransaction<'_>, cx: Context, message: M| {
        let acts = script(&cx, message);
        Box::pin(perform(SqlxHand(tx), acts))
    });
    inbox.with_settings(pool.settings.clone())
}

struct SqlxHand<'t, 'c>(&'t mut PgTransaction<'c>);

#[async_trait]
impl Hand for SqlxHand<'_, '_> {
    async fn run(&mut self, text: &str) -> Result<(), Failure> {
        sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(&mut **self.0).await?;
        Ok(())
    }

    async fn nested(&mut self, text: &str, ends: Ends) -> Result<(), Failure> {
        let mut inner = self.0.begin().await?;
        sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(&mut *inner).await?;
        match ends {
            Ends::Committed => inner.commit().await?,
            Ends::RolledBack => inner.rollback().await?,
            Ends::Dropped => drop(inner),
            Ends::LeftOpen => std::mem::forget(inner),
        }
        Ok(())
    }

    async fn publish(&mut self, outbox: &PostgresOutbox, all: &[Outgoing]) -> ackonce::Result<Vec<String>> {
        let outbox = SqlxOutbox::from(outbox.clone());
        match all {
            [one] => Ok(vec![outbox.publish(self.0, one).await?]),
            all => outbox.publish_all(self.0, all).await,
        }
    }
}

pub(super) async fn guard(run: &GuardRun) -> Guarded {
    let pool = PgPool::connect(&run.url).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    match SqlxGuard::enter_in(&run.schema, &mut tx, &run.key, &run.options).await {
        Ok(Entered::First(guard)) => {
            for text in &run.statements {
                let _ = sqlx::raw_sql(AssertSqlSafe(text.clone())).execute(&mut *tx).await;
            }
            match guard.with_outcome("out").finish(&mut tx).await {
                Ok(()) => tx.commit().await.map(|()| Guarded::Committed).unwrap(),
                Err(error) => Guarded::Refused(error),
            }
        }
        Ok(other) => not_first(other),
        Err(error) => Guarded::Refused(error),
    }
}

pub(super) async fn produce(url: &str, acts: Vec<Act>, commit: bool) -> Result<(), Failure> {
    let mut tx = PgPool::connect(url).await?.begin().await?;
    perform(SqlxHand(&mut tx), acts).await?;
    if commit {
        tx.commit().await?
    } else {
        tx.rollback().await?
    }
    Ok(())
}
