//! Servers of a test's own, to be set up wrongly.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ackonce_postgres::tokio_postgres::{self, Client, NoTls};
use tempfile::TempDir;

/// Waits until it is so. The bound only turns a hang into a failure.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < end, "waited two minutes: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A Redis; killed when dropped.
pub(crate) struct Redis {
    pub(crate) port: u16,
    child: Child,
    _directory: TempDir,
}

impl Redis {
    /// One that is set up soundly unless `args` say otherwise; `None`, with a notice, if Redis is not installed.
    pub(crate) fn start(args: &[&str]) -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            ackonce_testkit::servers::not_tested("redis-server is not installed");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]);
        command.arg("--dir").arg(directory.path()).args(args).stdout(Stdio::null());
        let server = Self { port, child: command.spawn().unwrap(), _directory: directory };
        until("redis answers", || server.say(&["PING"]).contains("PONG"));
        Some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The answer to one command.
    pub(crate) fn say(&self, words: &[&str]) -> String {
        let output =
            Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn set(&self, setting: &str, value: &str) {
        assert_eq!(self.say(&["CONFIG", "SET", setting, value]), "OK", "{setting} {value}");
    }

    /// A number of INFO.
    pub(crate) fn info(&self, name: &str) -> u64 {
        let info = self.say(&["INFO", "everything"]);
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().trim().parse().unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A PostgreSQL, from packages also where the others are containers.
pub(crate) struct Postgres {
    script: Child,
    pub(crate) url: String,
}

impl Postgres {
    /// `None`, said loudly, where there is no PostgreSQL at all.
    pub(crate) fn start() -> Option<Self> {
        ackonce_testkit::servers::address("ACKONCE_TEST_POSTGRES")?;
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/servers").to_owned();
        // It ends with its standard input, which ends with this process, however that ends.
        let mut script = Command::new(std::env::var("ACKONCE_SERVERS").unwrap_or(here))
            .args(["run", "postgres", "--", "sh", "-c", "printenv ACKONCE_TEST_POSTGRES; exec cat"])
            .env("ACKONCE_SERVERS_FROM", "packages")
            .env("ACKONCE_REQUIRE_SERVERS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let url = BufReader::new(script.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        Some(Self { script, url })
    }

    /// The same server, another database.
    pub(crate) fn database(&self, name: &str) -> String {
        format!("{}/{name}", self.url.rsplit_once('/').unwrap().0)
    }

    /// The same server, another role.
    pub(crate) fn role(&self, name: &str) -> String {
        self.url.replacen("ackonce@", &format!("{name}@"), 1)
    }

    pub(crate) async fn client(url: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Statements, each in a transaction of its own.
    pub(crate) async fn run(&self, statements: &[&str]) {
        let client = Self::client(&self.url).await;
        for statement in statements {
            client.batch_execute(statement).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
        }
    }

    /// Waits until new sessions have a setting: a reload takes a moment.
    pub(crate) async fn until_shown(&self, name: &str, value: &str) {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let client = Self::client(&self.url).await;
            let shown: String = client.query_one(&format!("SHOW {name}"), &[]).await.unwrap().get(0);
            if shown == value {
                return;
            }
            assert!(Instant::now() < end, "{name} is {shown}, not {value}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
