//! The store's secret, under which the names of its records are made.

use ackonce::{Error, ErrorKind, Result};
use redis::{Cmd, Value};

use super::Connection;
use crate::error::connecting;
use crate::records::{Secret, misread, secret_key};

/// The secret of the store, made by the first client.
pub(super) async fn secret(connection: &mut Connection, prefix: &str) -> Result<Secret> {
    let name = secret_key(prefix);
    let fresh: Secret = rand::random();
    let mut set = Cmd::new();
    set.arg("SET").arg(&name).arg(fresh.as_slice()).arg("NX");
    let mut get = Cmd::new();
    get.arg("GET").arg(&name);
    // A read first, so that it works on a server that is out of memory.
    for cmd in [None, Some(&set)] {
        if let Some(cmd) = cmd {
            connection.ask(cmd).await.and_then(Value::extract_error).map_err(connecting)?;
        }
        let found = match connection.ask(&get).await.and_then(Value::extract_error) {
            Err(error) if error.code() == Some("WRONGTYPE") => return Err(not_a_secret(&name)),
            found => found.map_err(connecting)?,
        };
        if let Value::BulkString(bytes) = found {
            return bytes.try_into().map_err(|_| not_a_secret(&name));
        }
    }
    Err(misread("the store's secret was written and is not there"))
}

/// A version whose buckets have another form gives this key another form, so that older ones stop here.
fn not_a_secret(name: &str) -> Error {
    let message = format!(
        "redis: the key {name} does not hold the secret of this store: a newer version wrote it, or another program; \
         upgrade ackonce-redis, or choose another prefix (RedisConfig::with_prefix, `prefix=` in a URL)"
    );
    Error::new(ErrorKind::NewerSchema, message)
}
