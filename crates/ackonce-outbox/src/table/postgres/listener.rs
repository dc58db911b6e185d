//! Notifications: who publishes tells relays, at most some times a second, and never inside a transaction of the user's.
//!
//! A transaction that notifies takes a lock of the whole server at its commit, so that flushes are no longer shared.

use std::sync::Arc;
use std::time::Duration;

use ackonce_postgres::PostgresStore;
use ackonce_postgres::deadpool_postgres::Pool;
use ackonce_postgres::tokio_postgres::types::Type;
use tokio::sync::{Notify, mpsc};

/// The channel of all outboxes of a database; the payload is the schema.
const CHANNEL: &str = "ackonce_outbox";
/// The pause between two notifications.
const PAUSE: Duration = Duration::from_millis(50);
/// The wait before a lost connection is opened again. Meanwhile the relay polls.
const AGAIN: Duration = Duration::from_secs(2);

/// Notifies, and hears notifications once somebody waits for them.
#[derive(Debug)]
pub(super) struct Listener {
    store: PostgresStore,
    heard: Arc<Notify>,
    notify: mpsc::Sender<()>,
    listening: tokio::sync::OnceCell<Listening>,
}

/// The task that listens; it ends with its listener.
#[derive(Debug)]
struct Listening(tokio::task::JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listener {
    /// Starts the task that notifies.
    pub(super) fn start(store: PostgresStore, pool: Pool) -> Self {
        let (notify, mut asked) = mpsc::channel::<()>(1);
        let schema = store.schema().as_str().to_owned();
        tokio::spawn(async move {
            while asked.recv().await.is_some() {
                if let Err(error) = tell(&pool, &schema).await {
                    // The relay's poll makes up for it.
                    tracing::debug!(target: "ackonce", error, "a notification of the outbox was not sent");
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { store, heard: Arc::default(), notify, listening: tokio::sync::OnceCell::new() }
    }

    pub(super) fn wake(&self) {
        self.heard.notify_one();
        // One that is asked for already covers this one, too.
        let _ = self.notify.try_send(());
    }

    pub(super) async fn changed(&self) {
        let start = async || {
            let (store, heard) = (self.store.clone(), self.heard.clone());
            Listening(tokio::spawn(listen(store, heard)))
        };
        self.listening.get_or_init(start).await;
        self.heard.notified().await;
    }
}

async fn tell(pool: &Pool, schema: &str) -> Result<(), String> {
    let told = async {
        let client = pool.get().await.map_err(|e| e.to_string())?;
        let params: [(&(dyn ackonce_postgres::tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&CHANNEL, Type::TEXT), (&schema, Type::TEXT)];
        client.query_typed("SELECT pg_notify($1, $2)", &params).await.map(drop).map_err(|e| e.to_string())
    };
    tokio::time::timeout(AGAIN, told).await.unwrap_or_else(|_| Err("no answer".to_owned()))
}

/// Listens until it is aborted. Each time that it begins counts as a notification, for those that were missed.
async fn listen(store: PostgresStore, heard: Arc<Notify>) {
    loop {
        let (at_start, for_each) = (heard.clone(), heard.clone());
        let schema = store.schema().as_str().to_owned();
        let listening = store.listen(
            CHANNEL,
            move || at_start.notify_one(),
            move |payload| {
                if payload == schema {
                    for_each.notify_one();
                }
            },
        );
        if let Err(error) = listening.await {
            let error = ackonce::chain(&error).to_string();
            tracing::debug!(target: "ackonce", error, "the outbox lost the connection on which it listens; it polls");
        }
        tokio::time::sleep(AGAIN).await;
    }
}
