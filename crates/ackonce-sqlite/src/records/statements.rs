//! The statements that read, write and delete one record.

use super::columns::{Shape, brief, full};

/// The columns of a full record and their parameters.
macro_rules! full_values {
    () => {
        "(key, expires, state, token, fence, claimed, free_at, attempt, previous, fingerprint, reason, outcome, \
         scope, id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    };
}

pub(crate) const SELECT_CLAIM: &str = concat!("SELECT ", full!(), " FROM main.ackonce_claims WHERE key = ?1");

pub(crate) const DELETE_CLAIM: &str = "DELETE FROM main.ackonce_claims WHERE key = ?1";

/// `ON CONFLICT` names the key, so that no other violated constraint can pass for a duplicate.
pub(crate) const UPSERT_CLAIM: &str = concat!(
    "INSERT INTO main.ackonce_claims ",
    full_values!(),
    " ON CONFLICT (key) DO UPDATE SET expires = excluded.expires, state = excluded.state, token = excluded.token, \
     fence = excluded.fence, claimed = excluded.claimed, free_at = excluded.free_at, attempt = excluded.attempt, \
     previous = excluded.previous, fingerprint = excluded.fingerprint, reason = excluded.reason, \
     outcome = excluded.outcome, scope = excluded.scope, id = excluded.id"
);

/// The statement that reads a record from the table of a generation.
pub(crate) fn select(table: &str, shape: Shape) -> String {
    let columns = match shape {
        Shape::Brief => brief!(),
        Shape::Full => full!(),
    };
    format!("SELECT {columns} FROM {table} WHERE key = ?1")
}

/// The statement that adds a record to the table of a generation.
pub(crate) fn insert(table: &str, shape: Shape) -> String {
    match shape {
        Shape::Brief => {
            format!("INSERT INTO {table} (fence, life, token, fingerprint, key) VALUES (?1, ?2, ?3, ?4, ?5)")
        }
        Shape::Full => format!("INSERT INTO {table} {}", full_values!()),
    }
}

/// The statement that deletes a record from the table of a generation.
pub(crate) fn delete(table: &str) -> String {
    format!("DELETE FROM {table} WHERE key = ?1")
}
