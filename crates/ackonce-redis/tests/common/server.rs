//! A Redis of a test's own, which it may fill, freeze, kill and reconfigure without disturbing the others.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ackonce_redis::RedisConfig;
use redis::aio::MultiplexedConnection;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// One process with its data; killed when dropped.
pub struct Server {
    dir: TempDir,
    pub port: u16,
    args: Vec<String>,
    child: Child,
}

impl Server {
    /// A server that writes each change to disk before it answers, unless `args` say otherwise; `None`, with a notice, if Redis is
    /// not installed.
    pub async fn start(args: &[&str]) -> Option<Self> {
        let server = Self::launch(args, TempDir::new().unwrap())?;
        server.wait_until_up().await;
        Some(server)
    }

    pub fn launch(args: &[&str], dir: TempDir) -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            ackonce_testkit::servers::not_tested("redis-server is not installed");
            return None;
        }
        let port = free_port();
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let child = spawn(port, &dir, &args);
        Some(Self { dir, port, args, child })
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn config(&self) -> RedisConfig {
        RedisConfig::new(self.url())
    }

    /// Kills it without warning and starts it again with the same data; without waiting until it is up.
    pub fn crash(&mut self) {
        self.crash_and_start(&[]);
    }

    /// The same, and started with more arguments this time.
    pub fn crash_and_start(&mut self, more: &[&str]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let args: Vec<_> =
            self.args.iter().cloned().chain(more.iter().map(|arg| (*arg).to_owned())).collect();
        self.child = spawn(self.port, &self.dir, &args);
    }

    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub async fn beside(&self) -> redis::RedisResult<MultiplexedConnection> {
        super::patient(&self.url()).await
    }

    /// One command, in words.
    pub async fn say<T: redis::FromRedisValue>(&self, words: &str) -> redis::RedisResult<T> {
        let mut cmd = redis::Cmd::new();
        words.split(' ').for_each(|word| {
            cmd.arg(word);
        });
        cmd.query_async(&mut self.beside().await?).await
    }

    pub async fn set(&self, setting: &str, value: &str) {
        self.say::<()>(&format!("CONFIG SET {setting} {value}")).await.unwrap();
    }

    /// A line of INFO.
    pub async fn info(&self, name: &str) -> String {
        let info: String = self.say("INFO everything").await.unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().trim().to_owned()
    }

    /// Waits until the server answers, with any answer.
    pub async fn wait_until_up(&self) {
        until("redis answers", async || match self.say::<String>("PING").await {
            Ok(_) => true,
            Err(error) => matches!(error.code(), Some("NOAUTH" | "NOPERM")),
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(port: u16, dir: &TempDir, args: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]);
    command.arg("--dir").arg(dir.path()).args(args);
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// Waits until it is so. The bound only turns a hang into a failure.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !is_so().await {
        assert!(Instant::now() < end, "waited two minutes: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
