//! Classifies Redis's errors for the caller: the store could not answer. An error never means a duplicate.

use std::borrow::Cow;

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind};
use redis::RedisError;

/// An error, and a flag that is set if its connection must not be used again.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: Error,
    pub(crate) is_broken: bool,
    /// The user may not run a command; not every server names it.
    pub(crate) lacks_right: bool,
}

impl Trouble {
    /// An answer that cannot be trusted; the next one on this connection cannot be trusted either.
    pub(crate) fn untrusted(error: Error) -> Self {
        Self { error, is_broken: true, lacks_right: false }
    }
}

/// An error before any request was sent: a repeat is safe.
pub(crate) fn connecting(error: RedisError) -> Error {
    let (kind, advice) = match classify_error(&error) {
        (ErrorKind::Timeout, _) => (
            ErrorKind::Unavailable,
            "no answer came in time (RedisConfig::with_connect_timeout and with_response_timeout, \
             `connect_timeout_ms=` and `response_timeout_ms=` in a URL)"
                .into(),
        ),
        // A server's answer to AUTH and SELECT.
        (ErrorKind::Protocol, _) => (ErrorKind::Config, "the server does not accept the connection".into()),
        classified => classified,
    };
    let repeat = match kind {
        ErrorKind::Config | ErrorKind::Corrupt => Repeat::Never,
        _ => Repeat::Safe,
    };
    Error::new(kind, format!("redis: connecting: {advice}")).with_repeat(repeat).with_source(error)
}

/// An error after a script was sent. A request that the server refuses before it runs is known not to be applied.
pub(crate) fn asking(error: RedisError) -> Trouble {
    let (kind, advice) = classify_error(&error);
    let is_refusal = matches!(
        code(&error),
        "OOM"
            | "READONLY"
            | "LOADING"
            | "MASTERDOWN"
            | "BUSY"
            | "NOREPLICAS"
            | "MISCONF"
            | "CLUSTERDOWN"
            | "TRYAGAIN"
    ) && !error.to_string().contains("script: ");
    let repeat = match kind {
        ErrorKind::Config | ErrorKind::Corrupt => Repeat::Never,
        _ if is_refusal => Repeat::Safe,
        _ => Repeat::Unknown,
    };
    // A replica stays one, but the host name may lead to the new primary by now. A connection
    // that has lost its login has to log in again.
    let is_broken = matches!(error.kind(), redis::ErrorKind::Io | redis::ErrorKind::Parse)
        || error.is_unrecoverable_error()
        || kind == ErrorKind::ReadOnly
        || matches!(code(&error), "NOAUTH" | "WRONGPASS");
    let lacks_right = lacks_right(&error);
    let error = Error::new(kind, format!("redis: {advice}")).with_repeat(repeat).with_source(error);
    Trouble { error, is_broken, lacks_right }
}

/// The first word of a server's error; empty for other errors.
fn code(error: &RedisError) -> &str {
    error.code().unwrap_or_default()
}

fn classify_error(error: &RedisError) -> (ErrorKind, Cow<'static, str>) {
    if lacks_right(error) {
        let rule = named(error);
        let advice = rule.map_or("the user may not do that; the README lists its rights".into(), |rule| {
            format!("the user lacks a right: ACL SETUSER <its name> {rule}").into()
        });
        return (ErrorKind::Config, advice);
    }
    let (kind, advice) = classify_others(error);
    (kind, advice.into())
}

fn classify_others(error: &RedisError) -> (ErrorKind, &'static str) {
    use ErrorKind as K;
    if error.is_timeout() {
        return (
            K::Timeout,
            "no answer came in time (RedisConfig::with_response_timeout, `response_timeout_ms=` in a URL)",
        );
    }
    match error.kind() {
        redis::ErrorKind::Io => return (K::Unavailable, "the connection was lost or could not be made"),
        redis::ErrorKind::ClusterConnectionNotFound => {
            return (K::Unavailable, "no node of the cluster can be reached for this");
        }
        redis::ErrorKind::AuthenticationFailed => {
            return (K::Config, "user or password is not accepted");
        }
        redis::ErrorKind::InvalidClientConfig => return (K::Config, "the settings cannot work"),
        _ => {}
    }
    match code(error) {
        "OOM" => (K::Full, "no memory; raise maxmemory, or remember for a shorter window"),
        "READONLY" => (K::ReadOnly, "the server is a replica; connect to its primary"),
        "LOADING" => (K::Unavailable, "the server is loading its data"),
        "MASTERDOWN" => (K::Unavailable, "the server is a replica that lost its primary"),
        "BUSY" => (K::Unavailable, "the server is busy with a slow script"),
        "MISCONF" => (K::Unavailable, "the server cannot write to its disk, and refuses writes until it can"),
        "NOREPLICAS" => (K::Unavailable, "the server has too few good replicas (min-replicas-to-write)"),
        "CLUSTERDOWN" | "TRYAGAIN" => (K::Unavailable, "the cluster cannot serve this slot now"),
        "MOVED" | "ASK" | "CROSSSLOT" => (K::Config, "the server is in a cluster; use redis+cluster://"),
        "NOAUTH" | "WRONGPASS" => (K::Config, "user or password is not accepted"),
        "WRONGTYPE" => (K::Corrupt, "a key of the store's holds something else"),
        "UNKILLABLE" | "NOTBUSY" | "NOSCRIPT" => (K::Unavailable, "the script could not be run"),
        _ if error.to_string().contains("max number of clients") => {
            (K::Unavailable, "the server takes no more connections")
        }
        _ if error.to_string().contains("killed by user") => (K::Unavailable, "the script was killed"),
        _ if error.to_string().contains("non local key") => {
            (K::Unavailable, "the cluster is moving this slot to another node")
        }
        _ => (K::Protocol, "the server cannot carry out the request"),
    }
}

/// True if the server refuses a command to the user.
pub(crate) fn is_refusal(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
}

/// True if an error is about a missing right, in a script or outside.
fn lacks_right(error: &RedisError) -> bool {
    let text = error.to_string();
    // For a command in a script, Redis 7.0 answers the first, later ones and Valkey the second; for SELECT, the driver the third.
    let others = ["user executing the script", "ACL failure in script", "has no permissions to run the"];
    is_refusal(error) || others.iter().any(|words| text.contains(words))
}

/// The rule for a command that the server itself names in its refusal, such as `+select`.
fn named(error: &RedisError) -> Option<String> {
    let text = error.to_string();
    let (_, rest) = text.split_once("to run the '")?;
    Some(format!("+{}", rest.split_once('\'')?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(line: &str) -> RedisError {
        redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap().extract_error().unwrap_err()
    }

    #[test]
    fn no_error_is_an_answer() {
        use {ErrorKind as K, Repeat as R};
        let cases = [
            ("OOM allow-oom flag is not set on the script", K::Full, R::Safe),
            ("READONLY You can't write against a read only replica.", K::ReadOnly, R::Safe),
            ("LOADING Redis is loading the dataset in memory", K::Unavailable, R::Safe),
            ("MASTERDOWN Link with MASTER is down", K::Unavailable, R::Safe),
            ("BUSY Redis is busy running a script.", K::Unavailable, R::Safe),
            ("MISCONF Errors writing to the AOF file", K::Unavailable, R::Safe),
            ("NOPERM this user has no permissions", K::Config, R::Never),
            ("WRONGTYPE Operation against a key script: x, on @user_script:3.", K::Corrupt, R::Never),
            ("OOM command not allowed script: x, on @user_script:3.", K::Full, R::Unknown),
            ("ERR something script: x, on @user_script:3.", K::Protocol, R::Unknown),
            ("ERR The user executing the script can't run this command script: x", K::Config, R::Never),
            ("ERR ACL failure in script: User app has no permissions", K::Config, R::Never),
            ("ERR Script attempted to access a non local key in a cluster node", K::Unavailable, R::Unknown),
            ("MOVED 3999 127.0.0.1:6381", K::Config, R::Never),
        ];
        for (line, kind, repeat) in cases {
            let trouble = asking(server(line));
            assert_eq!((trouble.error.kind(), trouble.error.repeat()), (kind, repeat), "{line}");
        }
        assert!(asking(server("READONLY x")).is_broken, "the primary's name may lead elsewhere by now");
        assert!(!asking(server("OOM x")).is_broken);
    }

    #[test]
    fn a_lost_connection_leaves_the_outcome_unknown() {
        let lost = || RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        let trouble = asking(lost());
        assert_eq!((trouble.error.kind(), trouble.error.repeat()), (ErrorKind::Unavailable, Repeat::Unknown));
        assert!(trouble.is_broken);
        let error = connecting(lost());
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Safe));
        let late = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        assert_eq!(asking(late).error.kind(), ErrorKind::Timeout);
    }
}
