//! The inbox and the guard for another driver: `ackonce-sqlx`, `ackonce-seaorm` and `ackonce-diesel` are made of these parts.
//!
//! The statements, the verdicts and the order of the steps are written once, here; a driver's crate sends texts with
//! parameters of text ([`SqlSession`]), runs the handler ([`InboxSession`]), begins, commits and rolls back:
//!
//! ```no_run
//! use ackonce::Answer;
//! use ackonce_postgres::driver::{GroupEnd, InboxGroup, InboxSession, SqlError};
//!
//! // The connection has begun its transaction with the text `BEGIN`.
//! async fn transact<M: Send + 'static, S: InboxSession<M>>(
//!     mut group: InboxGroup<'_, M>,
//!     mut session: S,
//!     commit: impl AsyncFnOnce(S) -> Result<(), SqlError>,
//!     roll_back: impl AsyncFnOnce(S),
//! ) -> Vec<Answer> {
//!     let committed = match group.run(&mut session).await {
//!         GroupEnd::Commit => commit(session).await,
//!         GroupEnd::RollBack => {
//!             roll_back(session).await;
//!             Ok(())
//!         }
//!     };
//!     group.finish(committed)
//! }
//! ```
//!
//! The COMMIT must end the inbox's own transaction: a driver that counts nested transactions in the client releases a savepoint
//! in its place if a handler has left one open, and says *done*. Ask it after the COMMIT, and answer
//! [`SqlError::left_open`], or set [`SqlSession::NEEDS_SAVEPOINT`]. A connection whose transaction has not ended must not go back
//! to its pool.

pub use crate::inbox::{
    BEGIN, GroupEnd, GuardCore, HandlerRun, InboxCore, InboxGroup, InboxSession, SET_UP, SqlSession, interned,
};
pub use crate::sql_error::SqlError;
