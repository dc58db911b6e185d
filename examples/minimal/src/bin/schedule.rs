//! A job that runs once per slot, on any number of hosts that share the store.

use std::env::var;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ackonce::schedule::{Every, ScheduledJob, Slot};
use ackonce::{Context, Scope};
use ackonce_sqlite::SqliteStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let every = Every::new(Duration::from_secs(var("EVERY_SECONDS").map_or(Ok(60), |s| s.parse())?))?;
    // Hosts that share a job need a store that they share: Redis or PostgreSQL.
    let store = Arc::new(SqliteStore::open("dedup.db")?);
    ScheduledJob::new(&Scope::new("billing/report")?, every, store)
        .with_shutdown(ackonce::shutdown_on_signals()?)
        .run(|_: Context, slot: Slot| async move {
            println!("report of {slot:?}");
            Ok(())
        })
        .await?;
    Ok(())
}
