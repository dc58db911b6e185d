//! The connection on which a consumer publishes: dead letters and delays.
//!
//! It is not the one that consumes: a broker that is short of memory or disk stops reading from those that publish,
//! and acks that share their connection would wait, too.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection, ConnectionStatus};
use tokio::sync::Mutex;

use crate::connection::{Source, Trouble};

/// The time limit for opening a channel.
const OPEN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Upstream {
    source: Source,
    scope: String,
    connection: Mutex<Option<Arc<Connection>>>,
    status: Lock<Option<ConnectionStatus>>,
}

/// A channel with the connection it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) channel: Channel,
    pub(crate) connection: Arc<Connection>,
}

impl Open {
    pub(crate) fn stands(&self) -> bool {
        self.channel.status().connected() && self.connection.status().connected()
    }
}

impl Upstream {
    pub(crate) fn new(source: Source, scope: String) -> Self {
        Self { source, scope, connection: Mutex::default(), status: Lock::default() }
    }

    /// A channel with publisher confirms, on the one connection.
    pub(crate) async fn confirming(&self) -> Result<Open, Trouble> {
        let open = self.channel().await?;
        let confirming = open.channel.confirm_select(ConfirmSelectOptions::default());
        unless_blocked(&open.connection, confirming).await??;
        Ok(open)
    }

    /// A channel on the one connection, which is opened if there is none.
    pub(crate) async fn channel(&self) -> Result<Open, Trouble> {
        let mut slot = self.connection.lock().await;
        let connection = match slot.take() {
            Some(connection) if connection.status().connected() => connection,
            lost => {
                if lost.is_some() {
                    self.source.lost();
                }
                self.source.connect(&format!("ackonce {} publishing", self.scope), &self.scope).await?
            }
        };
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.status().clone());
        // A connection that does not answer is not kept, unless it says why.
        let channel = unless_blocked(&connection, connection.create_channel()).await??;
        *slot = Some(connection.clone());
        Ok(Open { channel, connection })
    }

    /// True while the broker takes nothing, because it is short of memory or disk.
    pub(crate) fn is_blocked(&self) -> bool {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.as_ref().is_some_and(|status| status.connected() && status.blocked())
    }

    pub(crate) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            self.source.close(&connection).await;
        }
    }
}

/// Waits for an answer, for so long as the connection is blocked and [`OPEN`] after that.
async fn unless_blocked<T>(connection: &Connection, answer: impl Future<Output = T>) -> Result<T, Trouble> {
    let mut answer = pin!(answer);
    loop {
        if let Ok(answer) = tokio::time::timeout(OPEN, &mut answer).await {
            return Ok(answer);
        }
        if !connection.status().blocked() {
            return Err(Trouble::Slow(OPEN));
        }
    }
}
