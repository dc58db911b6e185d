//! A few words with a Redis server.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

const WAIT: Duration = Duration::from_secs(30);

/// A server, by its host and port. Each command has a connection of its own.
pub(super) struct Redis(String);

impl Redis {
    pub(super) fn new(address: String) -> Self {
        Self(address)
    }

    pub(super) fn of_url(url: &str) -> Self {
        Self(url.trim_start_matches("redis://").trim_end_matches('/').to_owned())
    }

    pub(super) fn host_and_port(&self) -> Result<(&str, &str)> {
        self.0.rsplit_once(':').context("an address")
    }

    /// Gives a command, and waits for its answer.
    pub(super) async fn tell(&self, words: &[&str]) -> Result<()> {
        let answer = self.ask(words).await?;
        anyhow::ensure!(!answer.starts_with('-'), "{}: {}", words.join(" "), answer.trim());
        Ok(())
    }

    /// A line of INFO.
    pub(super) async fn info(&self, name: &str) -> Result<String> {
        let all = self.ask(&["INFO", "everything"]).await?;
        let mut lines = all.lines().filter_map(|line| line.split_once(':'));
        let line = lines.find(|(found, _)| *found == name).with_context(|| format!("INFO has no {name}"))?;
        Ok(line.1.trim().to_owned())
    }

    /// Waits until that line of INFO has this value.
    pub(super) async fn wait_for(&self, name: &str, value: &str) -> Result<()> {
        let until = Instant::now() + WAIT;
        while self.info(name).await.ok().as_deref() != Some(value) {
            anyhow::ensure!(Instant::now() < until, "{} does not come to {name}:{value}", self.0);
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The first answer, up to the end of the connection.
    async fn ask(&self, words: &[&str]) -> Result<String> {
        let mut command = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| command.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        command.push_str("*1\r\n$4\r\nQUIT\r\n");
        let talk = async {
            let mut server = TcpStream::connect(&self.0).await?;
            server.write_all(command.as_bytes()).await?;
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).await?;
            anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        timeout(WAIT, talk).await.with_context(|| format!("{} does not answer", self.0))?
    }
}
