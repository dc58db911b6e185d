//! Publishing in a transaction of another driver than tokio-postgres.

use ackonce::Result;
use ackonce_postgres::driver::SqlSession;
use ackonce_postgres::statement_undone;

use super::PostgresOutbox;
use super::publish::inserted;
use crate::{Outgoing, OutgoingRow};

impl PostgresOutbox {
    /// Publishes a message with the commit of a transaction of any driver: `ackonce-sqlx`, `ackonce-seaorm` and
    /// `ackonce-diesel` have it as `publish` of their own. Returns the message ID.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_in(&self, session: &mut impl SqlSession, outgoing: &Outgoing) -> Result<String> {
        let row = outgoing.row()?;
        self.insert_in(session, std::slice::from_ref(&row)).await?;
        Ok(row.message_id)
    }

    /// Publishes messages in order, by one statement. Returns the message IDs.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); none is published then.
    pub async fn publish_all_in(
        &self,
        session: &mut impl SqlSession,
        outgoing: &[Outgoing],
    ) -> Result<Vec<String>> {
        let rows = outgoing.iter().map(Outgoing::row).collect::<Result<Vec<OutgoingRow>>>()?;
        self.insert_in(session, &rows).await?;
        Ok(rows.into_iter().map(|row| row.message_id).collect())
    }

    async fn insert_in(&self, session: &mut impl SqlSession, rows: &[OutgoingRow]) -> Result<()> {
        let lanes = list(rows, |row| row.lane.to_string());
        let ids = list(rows, |row| digits(row.message_id.as_bytes()));
        let destinations = list(rows, |row| digits(row.destination.as_bytes()));
        let keys = list(rows, |row| row.key.as_deref().map_or_else(|| NULL.to_owned(), digits));
        let headers = list(rows, |row| digits(&row.headers));
        let payloads = list(rows, |row| digits(&row.payload));
        let params = [&*lanes, &ids, &destinations, &keys, &headers, &payloads];
        let inserted_rows = session.query(self.texts.insert_lists, &params).await;
        let inserted_rows = inserted_rows.map_err(|e| statement_undone("publishing", e))?;
        inserted(inserted_rows.len() as u64, rows.len())
    }
}

/// The NULL of a list.
const NULL: &str = "-";

/// A column as text: no value has a comma.
fn list(rows: &[OutgoingRow], value: impl Fn(&OutgoingRow) -> String) -> String {
    rows.iter().map(value).collect::<Vec<_>>().join(",")
}

/// Bytes as PostgreSQL reads them. Never empty, so that one such value is not an empty list.
fn digits(bytes: &[u8]) -> String {
    format!("\\x{}", hex::encode(bytes))
}
