//! The server check: settings and role that weaken the promise.

use std::collections::HashMap;

use ackonce::store::{OnUnsafe, Repeat};
use ackonce::{Error, ErrorKind, Result};

use crate::Replicas;

/// One server's settings and role, as it reports them.
#[derive(Debug)]
pub struct RedisServer {
    /// Its name in a weakness: its address in a cluster, otherwise `the server`.
    pub(crate) name: String,
    /// The lines of INFO; `None` if it is forbidden.
    pub(crate) info: Option<HashMap<String, String>>,
    /// The answer to CONFIG GET; `None` if it is forbidden.
    pub(crate) config: Option<HashMap<String, String>>,
}

/// The store's demands on servers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) unsafe_server: OnUnsafe,
    pub(crate) replicas: Option<Replicas>,
    pub(crate) is_cluster: bool,
}

/// The settings asked for with CONFIG GET.
pub(crate) const SETTINGS: [&str; 8] = [
    "appendfsync",
    "min-replicas-to-write",
    "stop-writes-on-bgsave-error",
    "no-appendfsync-on-rewrite",
    "save",
    "maxmemory-policy",
    "hash-max-listpack-entries",
    "hash-max-listpack-value",
];

/// `field:value` lines; the sections' headings begin with `#`.
pub(crate) fn parse_info(text: &str) -> HashMap<String, String> {
    let lines = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl RedisServer {
    /// Its name: its address in a cluster, otherwise `the server`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// False if INFO is forbidden to this user.
    #[must_use]
    pub fn has_info(&self) -> bool {
        self.info.is_some()
    }

    /// False if CONFIG GET is forbidden to this user.
    #[must_use]
    pub fn has_config(&self) -> bool {
        self.config.is_some()
    }

    /// The value of a line of INFO; empty if it is not there.
    #[must_use]
    pub fn info(&self, name: &str) -> &str {
        self.info.as_ref().and_then(|info| info.get(name)).map_or("", String::as_str)
    }

    /// A setting, of those that [`RedisConfig::survey`](crate::RedisConfig::survey) asks for.
    #[must_use]
    pub fn config(&self, name: &str) -> Option<&str> {
        self.config.as_ref()?.get(name).map(String::as_str)
    }

    /// True if the server has evicted any key since it started.
    pub(crate) fn has_evicted(&self) -> bool {
        !matches!(self.info("evicted_keys"), "" | "0")
    }

    /// The weaknesses of this server.
    ///
    /// # Errors
    /// The server is refused; the error names the setting to change.
    pub(crate) fn check_server(&self, rules: Rules) -> Result<Vec<String>> {
        let mut weak = Vec::new();
        if self.info.is_none() {
            weak.push(
                "INFO is forbidden to this user: eviction, persistence and role are unknown".to_owned(),
            );
            return Ok(weak);
        }
        self.version()?;
        self.mode(rules.is_cluster)?;
        self.role(rules.unsafe_server, &mut weak)?;
        self.eviction(rules.unsafe_server, &mut weak)?;
        self.persistence(&mut weak);
        self.replication(rules, &mut weak);
        Ok(weak)
    }

    /// Scripts that declare flags, and are refused before they begin, are new in Redis 7.
    fn version(&self) -> Result<()> {
        let version = self.info("redis_version");
        match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
            Some(major) if major < 7 => Err(refused(format!(
                "{} is Redis {version}; this store needs Redis 7.0 or newer, or Valkey",
                self.name
            ))),
            _ => Ok(()),
        }
    }

    fn mode(&self, is_cluster: bool) -> Result<()> {
        match self.info("redis_mode") {
            "sentinel" => Err(refused(format!("{} is a sentinel; connect to the primary", self.name))),
            "cluster" if !is_cluster => {
                Err(refused(format!("{} is in a cluster; use redis+cluster://", self.name)))
            }
            "standalone" if is_cluster => {
                Err(refused(format!("{} is not in a cluster; use redis://", self.name)))
            }
            _ => Ok(()),
        }
    }

    fn role(&self, policy: OnUnsafe, weak: &mut Vec<String>) -> Result<()> {
        if self.info("loading") == "1" {
            let message = format!("redis: {} is loading its data", self.name);
            return Err(Error::new(ErrorKind::Unavailable, message).with_repeat(Repeat::Safe));
        }
        if self.info("role") != "slave" {
            return Ok(());
        }
        let takes_writes = self.info("slave_read_only") == "0";
        match policy {
            OnUnsafe::Downgrade if takes_writes => {
                weak.push(format!(
                    "{} is a replica that takes writes: its records are lost when it next copies its primary",
                    self.name
                ));
                Ok(())
            }
            _ => Err(Error::new(
                ErrorKind::ReadOnly,
                format!("redis: {} is a replica; connect to its primary", self.name),
            )),
        }
    }

    fn eviction(&self, policy: OnUnsafe, weak: &mut Vec<String>) -> Result<()> {
        let evicts = self.config("maxmemory-policy").unwrap_or_else(|| self.info("maxmemory_policy"));
        let is_limited = self.info("maxmemory") != "0";
        if !is_limited || evicts == "noeviction" {
            return Ok(());
        }
        match policy {
            OnUnsafe::Refuse => Err(refused(format!(
                "{} has maxmemory-policy {evicts}, which throws records out to make room; set it to noeviction, \
                 use a server of its own, or allow it (RedisConfig::with_unsafe(OnUnsafe::Downgrade), \
                 `unsafe=downgrade` in a URL)",
                self.name
            ))),
            OnUnsafe::Downgrade => {
                weak.push(format!(
                    "maxmemory-policy {evicts}: records are thrown out to make room, and their messages run again"
                ));
                Ok(())
            }
        }
    }

    fn persistence(&self, weak: &mut Vec<String>) {
        let has_log = self.info("aof_enabled") == "1";
        if !has_log {
            match self.config("save") {
                Some("") => weak.push(
                    "appendonly no, save \"\": nothing is written to disk, a restart forgets every record"
                        .into(),
                ),
                _ => weak.push(
                    "appendonly no: a crash or restart forgets all records since the last snapshot".into(),
                ),
            }
            return;
        }
        match self.config("appendfsync") {
            Some("always") => {}
            Some("everysec") => {
                weak.push("appendfsync everysec: a power cut loses up to two seconds of records".into());
            }
            Some(other) => weak.push(format!(
                "appendfsync {other}: a power cut loses records that the operating system had not yet written"
            )),
            None => weak.push(
                "appendfsync is unknown (CONFIG is forbidden to this user): a power cut may lose records"
                    .into(),
            ),
        }
        if self.config("no-appendfsync-on-rewrite") == Some("yes") {
            weak.push(
                "no-appendfsync-on-rewrite yes: a power cut while the log is rewritten loses records".into(),
            );
        }
    }

    fn replication(&self, rules: Rules, weak: &mut Vec<String>) {
        let has_replicas = !matches!(self.info("connected_slaves"), "" | "0");
        match rules.replicas {
            None if has_replicas || rules.is_cluster => weak.push(
                "replication is asynchronous: a failover forgets records the new primary had not yet received"
                    .into(),
            ),
            Some(replicas) => weak.push(format!(
                "{} replicas confirm each change, but a failover may promote another one",
                replicas.count
            )),
            None => {}
        }
    }

    /// The setting that makes buckets cost twice the memory; `None` if all are high enough.
    pub(crate) fn wasteful(&self) -> Option<String> {
        let limits = [("hash-max-listpack-entries", 128_u64), ("hash-max-listpack-value", 64)];
        let low = |(name, least): (&str, u64)| {
            let value = self.config(name)?.parse().ok().filter(|v: &u64| *v < least)?;
            Some(format!("{name} is {value}; below {least}, a settled record takes twice the memory"))
        };
        limits.into_iter().find_map(low)
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Config, format!("redis: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\n\
                        loading:0\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n\
                        connected_slaves:0\r\n";
    const RULES: Rules = Rules { unsafe_server: OnUnsafe::Refuse, replicas: None, is_cluster: false };

    fn server(changes: &str, config: &[(&str, &str)]) -> RedisServer {
        let mut info = parse_info(SAFE);
        info.extend(parse_info(changes));
        let defaults = [("appendfsync", "always"), ("save", ""), ("no-appendfsync-on-rewrite", "no")];
        let config = defaults.iter().chain(config).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        RedisServer { name: "the server".into(), info: Some(info), config: Some(config.collect()) }
    }

    #[test]
    fn a_safe_server_has_no_weakness() {
        assert_eq!(server("", &[]).check_server(RULES).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_loses_records_is_refused_by_its_name() {
        let cases = [
            ("maxmemory:1000\nmaxmemory_policy:allkeys-lru", ErrorKind::Config, "noeviction"),
            ("maxmemory:1000\nmaxmemory_policy:volatile-ttl", ErrorKind::Config, "noeviction"),
            ("role:slave\nslave_read_only:1", ErrorKind::ReadOnly, "replica"),
            ("role:slave\nslave_read_only:0", ErrorKind::ReadOnly, "replica"),
            ("redis_version:6.2.14", ErrorKind::Config, "7.0"),
            ("redis_mode:cluster", ErrorKind::Config, "redis+cluster://"),
            ("redis_mode:sentinel", ErrorKind::Config, "sentinel"),
            ("loading:1", ErrorKind::Unavailable, "loading"),
        ];
        for (changes, kind, word) in cases {
            let error = server(changes, &[]).check_server(RULES).unwrap_err();
            assert_eq!(error.kind(), kind, "{changes}");
            assert!(ackonce::chain(&error).to_string().contains(word), "{changes}: {error}");
        }
        // Without a memory limit, no policy evicts anything.
        assert!(server("maxmemory_policy:allkeys-lru", &[]).check_server(RULES).unwrap().is_empty());
    }

    #[test]
    fn a_downgrade_lists_it_and_a_read_only_replica_stays_refused() {
        let rules = Rules { unsafe_server: OnUnsafe::Downgrade, ..RULES };
        for changes in ["maxmemory:1\nmaxmemory_policy:allkeys-lru", "role:slave\nslave_read_only:0"] {
            assert_eq!(server(changes, &[]).check_server(rules).unwrap().len(), 1, "{changes}");
        }
        assert!(server("role:slave\nslave_read_only:1", &[]).check_server(rules).is_err());
    }

    #[test]
    fn persistence_and_replication_are_told() {
        let cases = [
            ("aof_enabled:0", ("save", ""), "nothing is written"),
            ("aof_enabled:0", ("save", "3600 1"), "last snapshot"),
            ("", ("appendfsync", "everysec"), "two seconds"),
            ("", ("appendfsync", "no"), "operating system"),
            ("", ("no-appendfsync-on-rewrite", "yes"), "rewritten"),
            ("connected_slaves:2", ("save", ""), "asynchronous"),
        ];
        for (changes, setting, word) in cases {
            let weak = server(changes, &[setting]).check_server(RULES).unwrap();
            assert!(weak.len() == 1 && weak[0].contains(word), "{changes} {setting:?}: {weak:?}");
        }
        let dumb = RedisServer { config: None, ..server("", &[]) };
        assert!(dumb.check_server(RULES).unwrap()[0].contains("unknown"));
        let mute = RedisServer { info: None, ..dumb };
        assert!(mute.check_server(RULES).unwrap()[0].contains("INFO is forbidden"));
    }

    #[test]
    fn limits_that_cost_memory_are_told() {
        assert_eq!(server("", &[("hash-max-listpack-entries", "128")]).wasteful(), None);
        let low = server("", &[("hash-max-listpack-value", "32")]).wasteful().unwrap();
        assert!(low.contains("hash-max-listpack-value is 32"), "{low}");
    }
}
