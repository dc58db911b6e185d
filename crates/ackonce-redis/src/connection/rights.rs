//! The rights of the store's user: those that are missing, in the words of an ACL rule.
//!
//! Redis 7.0 refuses a script's forbidden command without naming it, and only once the script reaches that
//! command, which may be hours later. So each command is tried by itself, in a form that changes nothing.

use ackonce::{Error, ErrorKind};
use futures_util::future::join_all;
use redis::{Cmd, Value};

use super::Connection;
use crate::RedisConfig;
use crate::error::is_refusal;

/// The rules that the user lacks, such as `+hset` and `~ackonce:*`; none if they cannot be asked for.
pub(crate) async fn missing(connection: &Connection, config: &RedisConfig) -> Vec<String> {
    let asked = commands(config, connection.is_cluster()).into_iter().map(|(right, cmd)| {
        let mut connection = connection.clone();
        async move { (right, connection.ask(&cmd).await.and_then(Value::extract_error)) }
    });
    let mut missing: Vec<String> = Vec::new();
    for (right, answer) in join_all(asked).await {
        let Some(error) = answer.err().filter(is_refusal) else { continue };
        let is_command = error.to_string().contains("to run the");
        let rule = if is_command { format!("+{right}") } else { format!("~{}:*", config.prefix) };
        if !missing.contains(&rule) {
            missing.push(rule);
        }
    }
    missing
}

/// The error that names the missing rights; `None` if none are missing.
pub(crate) fn refusal(missing: &[String]) -> Option<Error> {
    if missing.is_empty() {
        return None;
    }
    let message = format!("redis: the user lacks rights: ACL SETUSER <its name> {}", missing.join(" "));
    Some(Error::new(ErrorKind::Config, message))
}

/// Each command that the scripts or the store run, by its right, with wrong syntax or about a key that is not there. The
/// store works without `INFO`, `CONFIG GET` and `MEMORY USAGE`; the driver sends `SELECT` and `CLUSTER` when it
/// connects, whose refusals name them, and to a cluster `PING` at any time.
fn commands(config: &RedisConfig, is_cluster: bool) -> Vec<(&'static str, Cmd)> {
    let key = format!("{}:right", config.prefix);
    let about = |name: &str, more: &[&str]| {
        let mut cmd = redis::cmd(name);
        cmd.arg(&key).arg(more);
        cmd
    };
    let mut eval = redis::cmd("EVAL");
    eval.arg("return 1").arg(0);
    let mut evalsha = redis::cmd("EVALSHA");
    evalsha.arg("0".repeat(40)).arg(0);
    let mut commands = vec![
        ("eval", eval),
        ("evalsha", evalsha),
        ("time", redis::cmd("TIME")),
        ("hmget", about("HMGET", &["f"])),
        ("hget", about("HGET", &["f"])),
        ("hlen", about("HLEN", &[])),
        ("hgetall", about("HGETALL", &[])),
        ("hdel", about("HDEL", &["f"])),
        ("get", about("GET", &[])),
        ("exists", about("EXISTS", &[])),
        ("pexpireat", about("PEXPIREAT", &["1"])),
        ("pexpiretime", about("PEXPIRETIME", &[])),
        // A field without its value, and an option that does not exist.
        ("hset", about("HSET", &["f", "v", "f"])),
        ("set", about("SET", &["v", "NOTHING"])),
        ("del", about("DEL", &[])),
    ];
    if is_cluster {
        commands.push(("ping", redis::cmd("PING")));
    }
    if config.replicas.is_some() {
        let mut wait = redis::cmd("WAIT");
        wait.arg(0).arg(1);
        commands.push(("wait", wait));
    }
    commands
}
