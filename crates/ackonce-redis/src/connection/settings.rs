//! The settings of the servers that take writes, as they report them.

use redis::{Cmd, RedisResult};

use super::Connection;
use crate::check::{RedisServer, SETTINGS, parse_info};

pub(crate) async fn settings(connection: &mut Connection) -> RedisResult<Vec<RedisServer>> {
    let mut config = Cmd::new();
    config.arg("CONFIG").arg("GET").arg(&SETTINGS);
    let infos = connection.ask_all(&redis::cmd("INFO")).await?;
    // Some hosts forbid the command, others rename it.
    let mut configs = unless_refused(connection.ask_all(&config).await)?.unwrap_or_default();
    let servers = infos.into_iter().map(|(name, info)| {
        let at = configs.iter().position(|(of, _)| *of == name);
        let config = at.and_then(|at| redis::from_redis_value(configs.swap_remove(at).1).ok());
        let info = redis::from_redis_value::<String>(info).ok().as_deref().map(parse_info);
        RedisServer { name, info, config }
    });
    Ok(servers.collect())
}

/// `None` if the server itself refused.
fn unless_refused<T>(answer: RedisResult<T>) -> RedisResult<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}
