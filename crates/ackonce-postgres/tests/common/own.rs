//! A server of a test's own, to be stopped, killed and set up wrongly while others use theirs.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ackonce_postgres::SchemaName;

use super::{Place, connect, server};

pub struct Own {
    script: Child,
    servers: String,
    directory: String,
    pub url: String,
    pub data: PathBuf,
}

impl Own {
    /// A new one, from packages also where the others are containers; `None`, said loudly, where there is none at
    /// all.
    pub fn start() -> Option<Self> {
        server()?;
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/servers").to_owned();
        let servers = std::env::var("ACKONCE_SERVERS").unwrap_or(here);
        // It ends with its standard input, which ends with this process, however that ends.
        let say = "printenv ACKONCE_SERVERS_DIR ACKONCE_TEST_POSTGRES ACKONCE_TEST_POSTGRES_DATA; exec cat";
        let mut script = Command::new(&servers)
            .args(["run", "postgres", "--", "sh", "-c", say])
            .env("ACKONCE_SERVERS_FROM", "packages")
            .env("ACKONCE_REQUIRE_SERVERS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let mut line = || lines.next().unwrap().unwrap();
        let (directory, url, data) = (line(), line(), line().into());
        Some(Self { script, servers, directory, url, data })
    }

    /// `stop`, `kill` or `start`, as of `scripts/servers`.
    pub fn control(&self, what: &str) {
        let mut script = Command::new(&self.servers);
        script.args([what, "postgres"]).env("ACKONCE_SERVERS_DIR", &self.directory);
        assert!(script.status().unwrap().success(), "{what}");
    }

    /// A schema of it.
    pub fn place(&self, schema: &str) -> Place {
        Place { url: self.url.clone(), schema: SchemaName::new(schema).unwrap() }
    }

    /// Changes a setting of the running server.
    pub async fn set(&self, name: &str, value: &str) {
        let client = connect(&self.url).await;
        client.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'")).await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        // The reload reaches a session some time later.
        while client.query_one(&format!("SHOW {name}"), &[]).await.unwrap().get::<_, &str>(0) != value {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
