//! Redis Cluster: each call goes to the node that has its slot.

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind};
use futures_util::future::{join_all, try_join_all};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::io::tcp::TcpSettings;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};

use super::Address;
use super::limits::patience;
use super::replicas::{enough, wait};
use super::trip::{is_unknown_script, of_several};
use crate::error::{Trouble, asking};
use crate::records::Call;
use crate::{RedisConfig, Replicas};

/// The number of redirections and retries of the driver itself, within the response time-out.
/// Sending a script again is safe: its requests carry the attempt's token.
const RETRIES: u32 = 3;

pub(super) async fn open(address: &Address, config: &RedisConfig) -> RedisResult<ClusterConnection> {
    let builder = ClusterClient::builder(address.nodes.iter().cloned())
        .retries(RETRIES)
        .min_retry_wait(10)
        .max_retry_wait(200)
        .tcp_settings(TcpSettings::default().set_nodelay(true))
        .connection_timeout(config.connect_timeout)
        .response_timeout(patience(config))
        .overall_response_timeout(Some(patience(config)));
    #[cfg(feature = "tls")]
    let builder = match super::limits::certificates(config) {
        Some(certificates) => builder.certs(certificates),
        None => builder,
    };
    builder.build()?.get_async_connection().await
}

pub(super) async fn trip(
    cluster: &ClusterConnection,
    calls: &[Call],
    replicas: Option<Replicas>,
) -> Result<Vec<Value>, Trouble> {
    // The calls of one slot are sent one after the other, since requests for one key are answered in order.
    let slots = calls.chunk_by(|a, b| a.root == b.root).map(|calls| {
        let cluster = cluster.clone();
        async move {
            let mut answers = Vec::with_capacity(calls.len());
            for call in calls {
                answers.push(one(cluster.clone(), call, replicas).await?);
            }
            Ok(answers)
        }
    });
    let answers: Result<Vec<_>, _> = join_all(slots).await.into_iter().collect();
    answers.map(|slots| slots.concat()).map_err(|trouble| of_several(trouble, calls.len()))
}

async fn one(
    mut cluster: ClusterConnection,
    call: &Call,
    replicas: Option<Replicas>,
) -> Result<Value, Trouble> {
    let first = exchange(&mut cluster, call.by_name().clone(), call, replicas).await;
    let unknown = match &first {
        Ok(values) => values.iter().any(is_unknown_script),
        Err(error) => error.code() == Some("NOSCRIPT"),
    };
    let values = if unknown { exchange(&mut cluster, call.by_text(), call, replicas).await } else { first };
    let mut values = values.map_err(asking_node)?;
    let confirmed = replicas.and_then(|_| values.pop());
    let value = values.pop().unwrap_or_default().extract_error().map_err(asking_node)?;
    enough(replicas, confirmed)?;
    Ok(value)
}

/// The driver follows redirections; one that is left after its retries becomes an error, since the cluster is changing.
fn asking_node(error: RedisError) -> Trouble {
    if !matches!(error.code(), Some("MOVED" | "ASK")) {
        return asking(error);
    }
    let message = "redis: the cluster is moving slots, or its nodes disagree on where they are";
    let error = Error::new(ErrorKind::Unavailable, message).with_repeat(Repeat::Safe).with_source(error);
    Trouble { error, is_broken: false, lacks_right: false }
}

/// Sends a `WAIT`, if configured, on the same connection: on another it would confirm nothing.
async fn exchange(
    cluster: &mut ClusterConnection,
    cmd: Cmd,
    call: &Call,
    replicas: Option<Replicas>,
) -> RedisResult<Vec<Value>> {
    let route = SingleNodeRoutingInfo::SpecificNode(Route::with_key(&call.root, SlotAddr::Master));
    let Some(replicas) = replicas else {
        return Ok(vec![cluster.route_command(cmd, RoutingInfo::SingleNode(route)).await?]);
    };
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.add_command(cmd).add_command(wait(replicas));
    cluster.route_pipeline(pipeline, 0, 2, route).await
}

/// Every primary's answer.
pub(super) async fn ask_all(cluster: &mut ClusterConnection, cmd: &Cmd) -> RedisResult<Vec<(String, Value)>> {
    let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    let Value::Map(answers) = cluster.route_command(cmd.clone(), everywhere).await? else {
        return Err(RedisError::from((redis::ErrorKind::UnexpectedReturnType, "not an answer per node")));
    };
    let named = answers.into_iter().map(|(name, answer)| async move {
        Ok((redis::from_redis_value::<String>(name)?, answer.extract_error()?))
    });
    try_join_all(named).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_that_is_left_is_waited_for() {
        for line in
            ["-MOVED 3999 127.0.0.1:6381\r\n", "-ASK 3999 127.0.0.1:6381\r\n", "-TRYAGAIN Multiple keys\r\n"]
        {
            let error = redis::parse_redis_value(line.as_bytes()).unwrap().extract_error().unwrap_err();
            let trouble = asking_node(error);
            assert_eq!(
                (trouble.error.kind(), trouble.error.repeat()),
                (ErrorKind::Unavailable, Repeat::Safe),
                "{line}"
            );
        }
    }
}
