//! SeaORM.

use ackonce::{Context, Failure, Handler};
use ackonce_outbox::{Outgoing, PostgresOutbox};
use ackonce_postgres::PostgresStore;
use ackonce_seaorm::sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseTransaction, TransactionTrait,
};
use ackonce_seaorm::{Entered, SeaOrmGuard, SeaOrmInbox, SeaOrmOutbox};
use async_trait::async_trait;

use super::acts::{Act, Ends, Hand, perform};
use super::{GuardRun, Guarded, Pool, Script, not_first};

pub(super) async fn inbox<M: Send + 'static>(
    store: &PostgresStore,
    pool: &Pool,
    script: Script<M>,
) -> impl Handler<M> + use<M> {
    let mut options = ConnectOptions::new(&pool.url);
    options.max_connections(u32::try_from(pool.connections).unwrap()).acquire_timeout(pool.wait);
    options.connect_lazy(true);
    let db = Database::connect(options).await.unwrap();
    let inbox = SeaOrmInbox::new(store, db, move |tx: &DatabaseTransaction, cx: Context, message: M| {
        let acts = script(&cx, message);
        Box::pin(perform(SeaOrmHand(tx), acts))
    });
    inbox.with_settings(pool.settings.clone())
}

struct SeaOrmHand<'t>(&'t DatabaseTransaction);

#[async_trait]
impl Hand for SeaOrmHand<'_> {
    async fn run(&mut self, text: &str) -> Result<(), Failure> {
        self.0.execute_unprepared(text).await?;
        Ok(())
    }

    async fn nested(&mut self, text: &str, ends: Ends) -> Result<(), Failure> {
        let inner = self.0.begin().await?;
        inner.execute_unprepared(text).await?;
        match ends {
            Ends::Committed => inner.commit().await?,
            Ends::RolledBack => inner.rollback().await?,
            Ends::Dropped => drop(inner),
            Ends::LeftOpen => std::mem::forget(inner),
        }
        Ok(())
    }

    async fn publish(&mut self, outbox: &PostgresOutbox, all: &[Outgoing]) -> ackonce::Result<Vec<String>> {
        let outbox = SeaOrmOutbox::from(outbox.clone());
        match all {
            [one] => Ok(vec![outbox.publish(self.0, one).await?]),
            all => outbox.publish_all(self.0, all).await,
        }
    }
}

pub(super) async fn guard(run: &GuardRun) -> Guarded {
    let db = Database::connect(&run.url).await.unwrap();
    let tx = db.begin().await.unwrap();
    match SeaOrmGuard::enter_in(&run.schema, &tx, &run.key, &run.options).await {
        Ok(Entered::First(guard)) => {
            for text in &run.statements {
                let _ = tx.execute_unprepared(text).await;
            }
            match guard.with_outcome("out").finish(&tx).await {
                Ok(()) => tx.commit().await.map(|()| Guarded::Committed).unwrap(),
                Err(error) => Guarded::Refused(error),
            }
        }
        Ok(other) => not_first(other),
        Err(error) => Guarded::Refused(error),
    }
}

pub(super) async fn produce(url: &str, acts: Vec<Act>, commit: bool) -> Result<(), Failure> {
    let tx = Database::connect(url).await?.begin().await?;
    perform(SeaOrmHand(&tx), acts).await?;
    if commit {
        tx.commit().await?
    } else {
        tx.rollback().await?
    }
    Ok(())
}
