//! One server: a connection to it, and a trip on it.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, Pipeline, RedisResult, Value};

use super::limits::patience;
use super::replicas::{enough, wait};
use super::trip::{is_unknown_script, of_several};
use crate::error::{Trouble, asking};
use crate::records::Call;
use crate::{RedisConfig, Replicas};

pub(super) async fn open(node: &ConnectionInfo, config: &RedisConfig) -> RedisResult<MultiplexedConnection> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(patience(config)));
    client(node.clone(), config)?.get_multiplexed_async_connection_with_config(&settings).await
}

#[cfg(not(feature = "tls"))]
fn client(node: ConnectionInfo, _: &RedisConfig) -> RedisResult<Client> {
    Client::open(node)
}

#[cfg(feature = "tls")]
fn client(node: ConnectionInfo, config: &RedisConfig) -> RedisResult<Client> {
    match (node.addr(), super::limits::certificates(config)) {
        (redis::ConnectionAddr::TcpTls { .. }, Some(certificates)) => {
            Client::build_with_tls(node, certificates)
        }
        _ => Client::open(node),
    }
}

/// Sends all calls at once and returns their replies, in order.
pub(super) async fn trip(
    server: &mut MultiplexedConnection,
    calls: &[Call],
    replicas: Option<Replicas>,
) -> Result<Vec<Value>, Trouble> {
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
