//! The connection: its address, its checks, the thread that drives it, and a trip on it.

mod address;
mod client;
#[cfg(feature = "cluster")]
mod cluster;
mod limits;
mod link;
mod replicas;
mod rights;
mod secret;
mod server;
mod settings;
mod thread;
mod trip;

use ackonce::{Error, ErrorKind, Result};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, RedisResult, Value};

use crate::error::{Trouble, connecting};
use crate::records::{Call, Reply, misread};
use crate::{RedisConfig, Replicas};
use link::Link;
use thread::Thread;

pub(crate) use address::Address;
pub(crate) use client::Client;
pub(crate) use rights::missing as missing_rights;
pub(crate) use settings::settings;

/// A connection to a server or to a cluster; clones share it.
#[derive(Clone)]
pub(crate) enum Connection {
    Server(MultiplexedConnection),
    #[cfg(feature = "cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

impl Connection {
    pub(crate) async fn open(address: &Address, config: &RedisConfig) -> Result<Self> {
        #[cfg(feature = "cluster")]
        if address.is_cluster {
            return cluster::open(address, config).await.map(Self::Cluster).map_err(connecting);
        }
        let Some(node) = address.nodes.first() else {
            return Err(Error::new(ErrorKind::Config, "redis: no host to connect to"));
        };
        server::open(node, config).await.map(Self::Server).map_err(connecting)
    }

    pub(crate) fn is_cluster(&self) -> bool {
        !matches!(self, Self::Server(_))
    }

    /// Sends all calls at once (to a single server in order) and returns their replies, in order.
    pub(crate) async fn send(
        &mut self,
        calls: &[Call],
        replicas: Option<Replicas>,
    ) -> std::result::Result<Vec<Vec<u8>>, Trouble> {
        let replies = match self {
            Self::Server(server) => server::trip(server, calls, replicas).await?,
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster::trip(cluster, calls, replicas).await?,
        };
        calls.iter().zip(replies).map(|(call, value)| reply_to(call, value)).collect()
    }

    /// One command to every server that takes writes; its name and answer.
    pub(crate) async fn ask_all(&mut self, cmd: &Cmd) -> RedisResult<Vec<(String, Value)>> {
        match self {
            Self::Server(server) => {
                Ok(vec![("the server".to_owned(), server.req_packed_command(cmd).await?)])
            }
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster::ask_all(cluster, cmd).await,
        }
    }

    /// One command to the server that has its key.
    pub(crate) async fn ask(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Server(server) => server.req_packed_command(cmd).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.req_packed_command(cmd).await,
        }
    }
}

fn reply_to(call: &Call, value: Value) -> std::result::Result<Vec<u8>, Trouble> {
    let Value::BulkString(bytes) = value else {
        return Err(Trouble::untrusted(misread("an answer of another kind came back")));
    };
    Reply::open(&bytes, &call.nonce).map_err(Trouble::untrusted)?;
    Ok(bytes)
}
