//! diesel-async.

use ackonce::{Context, Failure, Handler};
use ackonce_diesel::diesel::result::Error as DieselError;
use ackonce_diesel::diesel_async::pooled_connection::AsyncDieselConnectionManager;
use ackonce_diesel::diesel_async::pooled_connection::deadpool;
use ackonce_diesel::diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager,
};
use ackonce_diesel::{DieselGuard, DieselInbox, DieselOutbox, Entered};
use ackonce_outbox::{Outgoing, PostgresOutbox};
use ackonce_postgres::PostgresStore;
use async_trait::async_trait;

use super::acts::{Act, Ends, Hand, perform};
use super::{GuardRun, Guarded, Pool, Script, not_first};

type Manager = <AsyncPgConnection as AsyncConnection>::TransactionManager;

pub(super) fn inbox<M: Send + 'static>(
    store: &PostgresStore,
    pool: &Pool,
    script: Script<M>,
) -> impl Handler<M> + use<M> {
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(&pool.url);
    let made = deadpool::Pool::builder(manager)
        .max_size(pool.connections)
        .wait_timeout(Some(pool.wait))
        .runtime(ackonce_postgres::deadpool_postgres::Runtime::Tokio1)
        .build()
        .unwrap();
    let inbox = DieselInbox::new(store, made, move |tx: &mut AsyncPgConnection, cx: Context, message: M| {
        let acts = script(&cx, message);
        Box::pin(perform(DieselHand(tx), acts))
    });
    inbox.with_settings(pool.settings.clone())
}

struct DieselHand<'t>(&'t mut AsyncPgConnection);

#[async_trait]
impl Hand for DieselHand<'_> {
    async fn run(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.0.batch_execute(text).await?)
    }

    async fn nested(&mut self, text: &str, ends: Ends) -> Result<(), Failure> {
        Manager::begin_transaction(self.0).await?;
        self.0.batch_execute(text).await?;
        match ends {
            Ends::Committed => Manager::commit_transaction(self.0).await?,
            Ends::RolledBack | Ends::Dropped => Manager::rollback_transaction(self.0).await?,
            Ends::LeftOpen => {}
        }
        Ok(())
    }

    async fn publish(&mut self, outbox: &PostgresOutbox, all: &[Outgoing]) -> ackonce::Result<Vec<String>> {
        let outbox = DieselOutbox::from(outbox.clone());
        match all {
            [one] => Ok(vec![outbox.publish(self.0, one).await?]),
            all => outbox.publish_all(self.0, all).await,
        }
    }
}

pub(super) async fn guard(run: &GuardRun) -> Guarded {
    let mut connection = AsyncPgConnection::establish(&run.url).await.unwrap();
    let mut ended = None;
    let ran = connection.transaction(async |tx| {
        let entered = DieselGuard::enter_in(&run.schema, tx, &run.key, &run.options).await;
        let (answer, commit) = match entered {
            Ok(Entered::First(guard)) => {
                for text in &run.statements {
                    let _ = tx.batch_execute(text).await;
                }
                match guard.with_outcome("out").finish(tx).await {
                    Ok(()) => (Guarded::Committed, true),
                    Err(error) => (Guarded::Refused(error), false),
                }
            }
            Ok(other) => (not_first(other), false),
            Err(error) => (Guarded::Refused(error), false),
        };
        ended = Some(answer);
        if commit { Ok(()) } else { Err(DieselError::RollbackTransaction) }
    });
    let ran = ran.await;
    let ended = ended.unwrap();
    assert_eq!(ran.is_ok(), matches!(ended, Guarded::Committed), "{ran:?}");
    ended
}

pub(super) async fn produce(url: &str, acts: Vec<Act>, commit: bool) -> Result<(), Failure> {
    let mut connection = AsyncPgConnection::establish(url).await?;
    Manager::begin_transaction(&mut connection).await?;
    perform(DieselHand(&mut connection), acts).await?;
    match commit {
        true => Manager::commit_transaction(&mut connection).await?,
        false => Manager::rollback_transaction(&mut connection).await?,
    }
    Ok(())
}
