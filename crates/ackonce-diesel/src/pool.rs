//! The pools that give an inbox its connections.

use std::ops::DerefMut;

use ackonce_postgres::driver::SqlError;
use async_trait::async_trait;
use diesel_async::AsyncPgConnection;

/// A pool of `AsyncPgConnection`. The features `deadpool` (default) and `bb8` implement it for diesel-async's pools.
#[async_trait]
pub trait DieselPool: Send + Sync + 'static {
    /// A connection that goes back to the pool when it is dropped.
    type Connection: DerefMut<Target = AsyncPgConnection> + Send;

    /// Waits for a connection.
    async fn connection(&self) -> Result<Self::Connection, SqlError>;

    /// Closes a connection on which a transaction may still be open.
    fn discard(connection: Self::Connection);
}

#[cfg(feature = "deadpool")]
#[async_trait]
impl DieselPool for diesel_async::pooled_connection::deadpool::Pool<AsyncPgConnection> {
    type Connection = diesel_async::pooled_connection::deadpool::Object<AsyncPgConnection>;

    async fn connection(&self) -> Result<Self::Connection, SqlError> {
        self.get().await.map_err(|error| SqlError::lost(None, error))
    }

    /// This pool would look at it only when it gives it out again, and its locks would be held until then.
    fn discard(connection: Self::Connection) {
        drop(Self::Connection::take(connection));
    }
}

#[cfg(feature = "bb8")]
#[async_trait]
impl DieselPool for diesel_async::pooled_connection::bb8::Pool<AsyncPgConnection> {
    type Connection = diesel_async::pooled_connection::bb8::PooledConnection<'static, AsyncPgConnection>;

    async fn connection(&self) -> Result<Self::Connection, SqlError> {
        self.get_owned().await.map_err(|error| SqlError::lost(None, error))
    }

    /// This pool closes a connection that comes back within a transaction.
    fn discard(connection: Self::Connection) {
        drop(connection);
    }
}
