//! The size of the tables: new rows go into one half, the other one is drained and truncated.
//!
//! Deleted rows would wait for a vacuum, which waits for the oldest snapshot of the whole server; TRUNCATE waits for nothing
//! but its lock.

use ackonce::Result;
use ackonce_postgres::tokio_postgres::IsolationLevel;
use ackonce_postgres::tokio_postgres::error::SqlState;
use ackonce_postgres::tokio_postgres::types::Type;

use super::{Held, PostgresTable, answered, count, fill};

/// The size at which a half takes no further rows.
const FULL: u64 = 16 << 20;
/// The wait for a lock. Publishers wait behind it for as long.
const LOCK: &str = "SET LOCAL lock_timeout = '50ms'";

impl PostgresTable {
    /// Truncates the half that is drained, and turns to it once the other is full. Another transaction with a lock on it
    /// puts that off.
    pub(super) async fn rotate(&self) -> Result<()> {
        let rows = self.query("measuring the outbox", &self.texts.turn, &[]).await?;
        let turn: i16 = rows.first().and_then(|row| row.try_get("turn").ok()).unwrap_or(0);
        let bytes = [count(rows.first(), 1)?, count(rows.first(), 2)?];
        let (now, other) = if turn == 0 { (bytes[0], bytes[1]) } else { (bytes[1], bytes[0]) };
        let is_empty = other == 0 || self.truncate(1 - turn).await?;
        if is_empty && now >= FULL {
            let next = 1 - turn;
            self.query("turning the outbox over", &self.texts.turn_over, &[(&next, Type::INT2)]).await?;
        }
        Ok(())
    }

    /// Truncates a half that has no row left; false if it has some, or somebody holds a lock on it.
    async fn truncate(&self, half: i16) -> Result<bool> {
        let schema = self.store.schema();
        let fill = |text: &str| fill(&text.replace("{half}", &half.to_string()), schema);
        let any = fill("SELECT EXISTS (SELECT 1 FROM {schema}.outbox_{half})");
        // Without a lock first: most often there are rows.
        if is_true(&self.query("looking at the outbox", &any, &[]).await?) {
            return Ok(false);
        }
        let mut held = Held(Some(self.client().await?));
        let client = held.get_mut()?;
        let worked = async {
            let level = IsolationLevel::ReadCommitted;
            let tx = client.build_transaction().isolation_level(level).start().await?;
            let lock = fill("LOCK TABLE {schema}.outbox_{half} IN ACCESS EXCLUSIVE MODE");
            match tx.batch_execute(&format!("{LOCK}; {lock}")).await {
                Err(e) if e.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => return Ok(false),
                locked => locked?,
            }
            // Nobody has an uncommitted row in it now, and this statement sees all that were committed.
            if is_true(&tx.query_typed(&any, &[]).await?) {
                return Ok(false);
            }
            tx.batch_execute(&fill("TRUNCATE {schema}.outbox_{half}")).await?;
            tx.commit().await?;
            Ok(true)
        };
        let answer = answered("truncating a half of the outbox", worked).await;
        held.release(answer.is_ok());
        answer
    }
}

fn is_true(rows: &[ackonce_postgres::tokio_postgres::Row]) -> bool {
    rows.first().and_then(|row| row.try_get(0).ok()).unwrap_or(true)
}
