//! One connection, to a server or to a cluster, and a trip on it.

use ackonce::{Error, ErrorKind, Result};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisResult, Value};

use crate::address::Address;
#[cfg(feature = "cluster")]
use crate::cluster;
use crate::error::{Trouble, asking, connecting};
use crate::reply::{Reply, misread};
use crate::script::Call;
use crate::{RedisConfig, Replicas};

/// A connection; clones share it.
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
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(patience(config)));
        let open = async {
            client(node.clone(), config)?.get_multiplexed_async_connection_with_config(&settings).await
        };
        open.await.map(Self::Server).map_err(connecting)
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
            Self::Server(server) => server_trip(server, calls, replicas).await?,
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

/// The time limit for an answer. It includes a blocking `WAIT`, which must not count as a server that hangs.
pub(crate) fn patience(config: &RedisConfig) -> std::time::Duration {
    config.response_timeout + config.replicas.map_or_else(Default::default, |r| r.timeout)
}

#[cfg(not(feature = "tls"))]
fn client(node: redis::ConnectionInfo, _: &RedisConfig) -> RedisResult<Client> {
    Client::open(node)
}

#[cfg(feature = "tls")]
fn client(node: redis::ConnectionInfo, config: &RedisConfig) -> RedisResult<Client> {
    match (node.addr(), certificates(config)) {
        (redis::ConnectionAddr::TcpTls { .. }, Some(certificates)) => {
            Client::build_with_tls(node, certificates)
        }
        _ => Client::open(node),
    }
}

#[cfg(feature = "tls")]
pub(crate) fn certificates(config: &RedisConfig) -> Option<redis::TlsCertificates> {
    if config.root_certificate.is_none() && config.client_certificate.is_none() {
        return None;
    }
    Some(redis::TlsCertificates {
        client_tls: config
            .client_certificate
            .clone()
            .map(|(client_cert, client_key)| redis::ClientTlsConfig { client_cert, client_key }),
        root_cert: config.root_certificate.clone(),
    })
}

fn reply_to(call: &Call, value: Value) -> std::result::Result<Vec<u8>, Trouble> {
    let Value::BulkString(bytes) = value else {
        return Err(Trouble::untrusted(misread("an answer of another kind came back")));
    };
    Reply::open(&bytes, &call.nonce).map_err(Trouble::untrusted)?;
    Ok(bytes)
}

async fn server_trip(
    server: &mut MultiplexedConnection,
    calls: &[Call],
    replicas: Option<Replicas>,
) -> std::result::Result<Vec<Value>, Trouble> {
    let mut pipeline = Pipeline::with_capacity(calls.len() + 1);
    for call in calls {
        pipeline.add_command(call.by_name().clone());
    }
    let mut values = exchange(server, &mut pipeline, replicas).await;
    if values.as_ref().is_ok_and(|v| v.iter().any(is_unknown_script)) {
        // Some of them may have run. They carry their tokens: running again changes nothing.
        pipeline.clear();
        for call in calls {
            pipeline.add_command(call.by_text());
        }
        values = exchange(server, &mut pipeline, replicas).await;
    }
    let mut values = values.map_err(asking)?;
    let confirmed = replicas.and_then(|_| values.pop());
    let values = values.into_iter().map(Value::extract_error).collect::<RedisResult<Vec<_>>>();
    let values = values.map_err(|e| of_several(asking(e), calls.len()))?;
    enough(replicas, confirmed)?;
    Ok(values)
}

async fn exchange(
    server: &mut MultiplexedConnection,
    pipeline: &mut Pipeline,
    replicas: Option<Replicas>,
) -> RedisResult<Vec<Value>> {
    if let Some(replicas) = replicas {
        pipeline.add_command(wait(replicas));
    }
    server.req_packed_commands(pipeline, 0, pipeline.len()).await
}

pub(crate) fn wait(replicas: Replicas) -> Cmd {
    let mut wait = Cmd::new();
    // Zero would wait for ever.
    wait.arg("WAIT").arg(replicas.count).arg(replicas.timeout.as_millis().clamp(1, 86_400_000).to_string());
    wait
}

/// `WAIT` answers the number of replicas that have the change; too few are no error to Redis.
pub(crate) fn enough(
    replicas: Option<Replicas>,
    confirmed: Option<Value>,
) -> std::result::Result<(), Trouble> {
    let Some(replicas) = replicas else { return Ok(()) };
    match confirmed {
        Some(Value::Int(n)) if n >= i64::from(replicas.count) => Ok(()),
        Some(Value::Int(n)) => Err(Trouble {
            error: Error::new(
                ErrorKind::Unavailable,
                format!(
                    "redis: {n} of {} replicas confirmed the change in {:?} (RedisConfig::with_replicas, `replicas=` and \
                     `replicas_timeout_ms=` in a URL)",
                    replicas.count, replicas.timeout
                ),
            ),
            is_broken: false,
            lacks_right: false,
        }),
        Some(Value::ServerError(e)) => Err(asking(e.into())),
        _ => Err(Trouble::untrusted(misread("WAIT was not answered with a number"))),
    }
}

pub(crate) fn is_unknown_script(value: &Value) -> bool {
    matches!(value, Value::ServerError(e) if e.code() == "NOSCRIPT")
}

/// The error of several calls is not safe to repeat if one was refused, since the others may have been applied.
pub(crate) fn of_several(trouble: Trouble, calls: usize) -> Trouble {
    match trouble.error.repeat() {
        ackonce::store::Repeat::Safe if calls > 1 => {
            Trouble { error: trouble.error.with_repeat(ackonce::store::Repeat::Unknown), ..trouble }
        }
        _ => trouble,
    }
}
