//! The server's address: parses a URL and names the part that is wrong.

use ackonce::{Error, ErrorKind, Result};
use redis::io::tcp::TcpSettings;
use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

/// The servers to connect to, and their name.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// One server, or some of a cluster's.
    pub(crate) nodes: Vec<ConnectionInfo>,
    pub(crate) is_cluster: bool,
    /// For humans: without user and password.
    pub(crate) name: String,
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Config, format!("redis: {message}"))
}

impl Address {
    /// # Errors
    /// [`ErrorKind::Config`], naming the bad part; never the whole URL, which may carry a password.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| {
            refused("the URL has no scheme; write redis://host, rediss://host or redis+cluster://host".into())
        })?;
        let scheme = scheme.to_ascii_lowercase().replace("valkey", "redis");
        let (scheme, is_cluster) = match scheme.as_str() {
            "redis" | "rediss" => (scheme.as_str(), false),
            "redis+unix" | "unix" => ("redis+unix", false),
            "redis+cluster" => ("redis", true),
            "rediss+cluster" => ("rediss", true),
            other => return Err(refused(format!("{other}:// is not a scheme this store knows"))),
        };
        if scheme == "rediss" {
            tls_is_there()?;
        }
        if is_cluster && !cfg!(feature = "cluster") {
            return Err(refused("Redis Cluster needs ackonce-redis with its feature `cluster`".to_owned()));
        }
        // The driver reads `#insecure` as permission to skip certificate checks. The text after `#` may be part of a password.
        if rest.contains('#') {
            return Err(refused("the URL has a `#`; in a user or password, write %23".into()));
        }
        if scheme != "redis+unix"
            && let Some((_, query)) = rest.split_once('?')
        {
            return Err(match query.split(['=', '&']).next() {
                Some(name) if !query.contains('@') => {
                    refused(format!("`{name}` is not an option of this URL; RedisConfig has the settings"))
                }
                _ => refused("the URL has a `?` in its user or password; write %3F".into()),
            });
        }
        let nodes: Vec<_> = hosts(rest, is_cluster)
            .into_iter()
            .map(|place| node(&format!("{scheme}://{place}")))
            .collect::<Result<_>>()?;
        if is_cluster && nodes.iter().any(|n| n.redis_settings().db() != 0) {
            return Err(refused("a cluster has no databases but 0".into()));
        }
        let name = called(&nodes, is_cluster);
        Ok(Self { nodes, is_cluster, name })
    }
}

/// `user:password@a,b/0` is `user:password@a/0` and `user:password@b/0`.
fn hosts(rest: &str, is_cluster: bool) -> Vec<String> {
    if !is_cluster {
        return vec![rest.to_owned()];
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    hosts.split(',').map(|host| format!("{user}{host}{path}")).collect()
}

fn node(url: &str) -> Result<ConnectionInfo> {
    let info =
        url.into_connection_info().map_err(|e| refused("the URL is not valid".into()).with_source(e))?;
    // Version 2 of the protocol: replies have the same form from every server.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    Ok(info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

fn called(nodes: &[ConnectionInfo], is_cluster: bool) -> String {
    let database = nodes.first().map_or(0, |n| n.redis_settings().db());
    let hosts: Vec<_> = nodes.iter().map(|n| n.addr().to_string()).collect();
    let kind = if is_cluster { "redis cluster" } else { "redis" };
    match database {
        0 => format!("{kind} {}", hosts.join(",")),
        n => format!("{kind} {}/{n}", hosts.join(",")),
    }
}

#[cfg(not(feature = "tls"))]
fn tls_is_there() -> Result<()> {
    Err(refused("rediss:// needs ackonce-redis with its feature `tls`".into()))
}

/// A library must not choose the program's cryptography, and rustls panics if the program chose none.
#[cfg(feature = "tls")]
fn tls_is_there() -> Result<()> {
    match rustls::crypto::CryptoProvider::get_default() {
        Some(_) => Ok(()),
        None => Err(refused(
            "rediss:// needs a crypto provider; install one when the program starts, such as \
             rustls::crypto::ring::default_provider().install_default()"
                .into(),
        )),
    }
}

/// The prefix that the store's keys may have: braces would move a cluster's hash tag.
pub(crate) fn check_prefix(prefix: &str) -> Result<()> {
    if prefix.is_empty() || prefix.len() > 64 || prefix.contains(['{', '}']) {
        let places = "RedisConfig::with_prefix, `prefix=` in a URL";
        return Err(refused(format!(
            "the prefix {prefix:?} ({places}) must have 1 to 64 bytes and no braces"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RedisConfig;

    fn parse(url: &str) -> Result<Address> {
        Address::parse(url)
    }

    #[test]
    fn names_have_no_secrets() {
        let names = [
            ("redis://localhost", "redis localhost:6379"),
            ("redis://app:s3cret@10.0.0.1:7000/2", "redis 10.0.0.1:7000/2"),
            ("valkey://:s3cret@[::1]:7000", "redis ::1:7000"),
            ("redis+unix:///run/redis.sock?db=3&pass=s3cret", "redis /run/redis.sock/3"),
        ];
        for (url, name) in names {
            let address = parse(url).unwrap();
            assert_eq!(address.name, name);
            assert!(!format!("{address:?} {:?}", RedisConfig::new(url)).contains("s3cret"), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_secrets_are_not() {
        let bad = [
            ("localhost:6379", "no scheme"),
            ("http://u:s3cret@host", "http://"),
            ("redis://u:s3cret@host/nine", "database"),
            ("redis://u:s3cret@host/0?lease=3", "lease"),
            ("redis://u:s3cret@host:99999", "URL"),
            ("redis://u:s3cret@host#insecure", "%23"),
            ("redis://u:what#s3cret@host", "%23"),
            ("redis://u:what?s3cret@host", "%3F"),
            ("redis://u:s3cret@", "URL"),
        ];
        for (url, part) in bad {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(ackonce::chain(&error).to_string().contains(part), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{url}: {error:?}");
        }
        for bad in ["", "a{b", "}", &"x".repeat(65)] {
            assert_eq!(check_prefix(bad).unwrap_err().kind(), ErrorKind::Config);
        }
    }

    #[cfg(feature = "cluster")]
    #[test]
    fn a_cluster_has_several_hosts_and_one_user() {
        let address = parse("redis+cluster://app:p%40ss@a:7000,b,c:7002/").unwrap();
        assert_eq!(address.name, "redis cluster a:7000,b:6379,c:7002");
        assert!(parse("redis+cluster://a/3").unwrap_err().to_string().contains("databases"));
        for node in &address.nodes {
            assert_eq!(node.redis_settings().password(), Some("p@ss"));
        }
    }

    #[cfg(not(feature = "cluster"))]
    #[test]
    fn a_cluster_needs_its_feature() {
        assert!(parse("redis+cluster://a").unwrap_err().to_string().contains("feature `cluster`"));
    }

    #[test]
    fn tls_is_asked_for_what_it_needs() {
        let needs = if cfg!(feature = "tls") { "crypto provider" } else { "feature `tls`" };
        assert!(parse("rediss://host").unwrap_err().to_string().contains(needs));
    }
}
