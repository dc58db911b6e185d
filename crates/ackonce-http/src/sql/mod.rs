//! Kept answers as plain columns (`request`, `status`, `headers`, `not_kept`, `body`, `fingerprint`, `created`, `completed`,
//! `expires`), for people who ask their database. Programs use [`Inspect`](ackonce::store::Inspect) and
//! [`StoredResponse`](crate::StoredResponse).

/// The query for one of the tables `ackonce_full_N` of a SQLite store; put its name for `{table}`. Needs SQLite 3.38.
///
/// ```sh
/// sqlite3 ackonce.db "SELECT name FROM sqlite_schema WHERE name GLOB 'ackonce_full_*'"
/// ```
pub const SQLITE: &str = include_str!("sqlite.sql");

/// The query for a Postgres store; put its schema for `{schema}`.
pub const POSTGRES: &str = include_str!("postgres.sql");
