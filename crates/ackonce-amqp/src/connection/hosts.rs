//! One or several URLs of one broker, and which of them is tried next.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use lapin::uri::{AMQPScheme, AMQPUri};

/// In seconds, unless the URL says otherwise; a dead peer is noticed after twice that. RabbitMQ's own 60 lets a
/// dead link pass unnoticed for minutes; under 5 a loaded machine is taken for a dead one.
const HEARTBEAT: u16 = 20;

/// At least one URL.
pub(crate) struct Hosts {
    first: AMQPUri,
    others: Vec<AMQPUri>,
    at: AtomicUsize,
}

impl Hosts {
    /// Reads URLs; each may have several hosts, separated by commas.
    pub(crate) fn parse<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut all = Vec::new();
        for url in urls {
            for url in each(url) {
                all.push(read(&url)?);
            }
        }
        let mut all = all.into_iter();
        let first = all.next().ok_or("there is none")?;
        Ok(Self { first, others: all.collect(), at: AtomicUsize::new(0) })
    }

    pub(crate) fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// The one to try now.
    pub(crate) fn current(&self) -> &AMQPUri {
        self.get(self.at.load(Ordering::Relaxed))
    }

    /// The next one is tried from now on, unless somebody else has moved on already.
    pub(crate) fn failed(&self, uri: &AMQPUri) {
        let at = self.at.load(Ordering::Relaxed);
        if std::ptr::eq(self.get(at), uri) {
            let next = (at + 1) % self.count();
            let _ = self.at.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn get(&self, at: usize) -> &AMQPUri {
        at.checked_sub(1).and_then(|at| self.others.get(at)).unwrap_or(&self.first)
    }
}

impl fmt::Display for Hosts {
    /// Never the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for at in 0..self.count() {
            let uri = self.get(at);
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{}:{}/{}", uri.authority.host, uri.authority.port, uri.vhost)?;
        }
        Ok(())
    }
}

/// `amqp://user:password@a:1,b:2/vhost` as one URL for each host.
fn each(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.to_owned()] };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    hosts.split(',').map(|host| format!("{scheme}://{user}{host}{path}")).collect()
}

fn read(url: &str) -> Result<AMQPUri, String> {
    // The parser's answer may repeat the URL, password and all.
    let unlike = || "it is not of the form amqp://user:password@host:port/vhost".to_owned();
    let parsed = url.parse().map_err(|why: String| if why.contains(url) { unlike() } else { why });
    let mut uri: AMQPUri = parsed?;
    // Without one, lapin would speak plaintext to a TLS port, password and all.
    if uri.scheme == AMQPScheme::AMQPS && !cfg!(feature = "tls") {
        return Err("amqps:// needs ackonce-amqp with its feature `tls`".to_owned());
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gets_a_heartbeat_and_keeps_its_own() {
        let heartbeat = |url| Hosts::parse([url]).unwrap().current().query.heartbeat;
        assert_eq!(heartbeat("amqp://localhost/%2f"), Some(HEARTBEAT));
        assert_eq!(heartbeat("amqp://localhost/%2f?heartbeat=5"), Some(5));
    }

    #[test]
    fn a_url_that_asks_for_tls_gets_it_or_is_refused() {
        let usable = Hosts::parse(["amqps://u:secret@h/%2f"]).is_ok();
        assert_eq!(usable, cfg!(feature = "tls"), "never plaintext");
    }

    #[test]
    fn a_password_is_never_shown() {
        let hosts = Hosts::parse(["amqp://u:secret@h:1,g:2/%2f"]).unwrap();
        assert_eq!(hosts.to_string(), "h:1//, g:2//");
        for broken in ["http://u:secret@h", "amqp:u:secret@h", "u:secret@h", "amqp://u:secret@h:x"] {
            let why = Hosts::parse([broken]).err().unwrap();
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn several_hosts_are_tried_in_turn() {
        let hosts = Hosts::parse(["amqp://u:p@a:1,b/v?heartbeat=5", "amqp://c:3"]).unwrap();
        let mut seen = Vec::new();
        for _ in 0..4 {
            let uri = hosts.current();
            let query = (uri.vhost.as_str(), uri.query.heartbeat);
            seen.push((uri.authority.host.as_str(), uri.authority.port, query));
            hosts.failed(uri);
        }
        let expected =
            [("a", 1, ("v", Some(5))), ("b", 5672, ("v", Some(5))), ("c", 3, ("/", Some(HEARTBEAT)))];
        assert_eq!(seen[..3], expected);
        assert_eq!(seen[3].0, "a");
        assert!(Hosts::parse([]).is_err());
    }

    #[test]
    fn a_failure_seen_twice_passes_over_no_host() {
        let hosts = Hosts::parse(["amqp://a,b,c"]).unwrap();
        let lost = hosts.current();
        hosts.failed(lost);
        hosts.failed(lost);
        assert_eq!(hosts.current().authority.host, "b");
    }
}
