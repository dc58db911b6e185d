//! The replicas that must have a change before it is answered: Redis's `WAIT`.

use ackonce::{Error, ErrorKind};
use redis::{Cmd, Value};

use crate::Replicas;
use crate::error::{Trouble, asking};
use crate::records::misread;

/// The command that waits for them.
pub(super) fn wait(replicas: Replicas) -> Cmd {
    let mut wait = Cmd::new();
    // Zero would wait for ever.
    wait.arg("WAIT").arg(replicas.count).arg(replicas.timeout.as_millis().clamp(1, 86_400_000).to_string());
    wait
}

/// `WAIT` answers the number of replicas that have the change; too few are no error to Redis.
pub(super) fn enough(replicas: Option<Replicas>, confirmed: Option<Value>) -> Result<(), Trouble> {
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
