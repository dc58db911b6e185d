//! Servers and files that refuse their user, and the sentence with which a program ends there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ackonce_postgres::tokio_postgres::{self, NoTls};
use ackonce_postgres::{PostgresConfig, SchemaName};
use ackonce_sqlite::SqliteStore;
use ackonce_testkit::servers::address;
use tempfile::TempDir;

/// The password of every user here.
const SECRET: &str = "s3cret";

/// Stores at PostgreSQL, as URLs.
#[derive(Debug)]
pub struct Roles {
    /// The owner of the tables, who may do everything.
    pub owner: String,
    /// Of a role that may not log in.
    pub no_login: String,
    /// Of a role that may not use the schema.
    pub stranger: String,
    /// Of a role that may only read the tables.
    pub reader: String,
}

/// New roles and tables; `None`, said loudly, without a server.
pub async fn roles(name: &str) -> Option<Roles> {
    let url = address("ACKONCE_TEST_POSTGRES")?;
    let schema = format!("rights_{name}_{}", std::process::id());
    let config = PostgresConfig::new(&url).unwrap().with_schema(SchemaName::new(schema.clone()).unwrap());
    config.create_schema().await.unwrap();
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let roles = format!(
        "CREATE ROLE {schema}_no_login NOLOGIN; CREATE ROLE {schema}_stranger LOGIN; CREATE ROLE {schema}_reader LOGIN;
         GRANT USAGE ON SCHEMA {schema} TO {schema}_reader; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}_reader"
    );
    client.batch_execute(&roles).await.unwrap();
    let of = |role: &str| {
        url.replacen("ackonce@", &format!("{schema}_{role}:{SECRET}@"), 1) + "?schema=" + &schema
    };
    Some(Roles {
        owner: format!("{url}?schema={schema}"),
        no_login: of("no_login"),
        stranger: of("stranger"),
        reader: of("reader"),
    })
}

/// URLs of a user of Redis who may not run `HSET`, and of the same one with a wrong password.
pub fn users(name: &str) -> Option<[String; 2]> {
    let url = address("ACKONCE_TEST_REDIS")?;
    let server = url.trim_start_matches("redis://").trim_end_matches('/');
    let user = format!("rights-{name}-{}", std::process::id());
    let mut stream = TcpStream::connect(server).unwrap();
    write!(stream, "ACL SETUSER {user} reset on >{SECRET} ~* +@all -hset\r\n").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");
    Some([SECRET, "wrong-s3cret"].map(|password| format!("redis://{user}:{password}@{server}")))
}

/// The URL of RabbitMQ with a wrong password.
pub fn wrong_password() -> Option<String> {
    let url = address("ACKONCE_TEST_AMQP")?;
    Some(url.replacen(":guest@", &format!(":{SECRET}@"), 1))
}

/// A directory that nobody may write, with a store's file in it.
#[derive(Debug)]
pub struct ReadOnly(TempDir);

impl ReadOnly {
    /// With an empty store.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        drop(SqliteStore::open(directory.path().join("dedup.db")).unwrap());
        std::fs::set_permissions(directory.path().join("dedup.db"), PermissionsExt::from_mode(0o444))
            .unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o555)).unwrap();
        Self(directory)
    }

    /// The file that is there.
    pub fn file(&self) -> String {
        format!("sqlite:{}", self.0.path().join("dedup.db").display())
    }

    /// A file that would have to be made.
    pub fn missing(&self) -> String {
        format!("sqlite:{}", self.0.path().join("new.db").display())
    }

    /// The program as a user who has no right to them: root may write everywhere.
    pub fn as_nobody(&self, program: &str) -> Command {
        if std::fs::metadata(self.0.path()).unwrap().uid() != 0 {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
        command
    }
}

impl Default for ReadOnly {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs a program that must end with exit code 3 and one sentence with these words, without a secret. The bound only turns a
/// wait for the right into a failure.
pub fn refuses(command: &mut Command, words: &[&str]) {
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_string_lossy().starts_with("ACKONCE_")) {
        command.env_remove(name);
    }
    command.env("RUST_BACKTRACE", "1").env("RUST_LOG", "off").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= end {
            child.kill().unwrap();
            panic!("it waits instead of ending: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(3), "{command:?}: {said}");
    assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not all in {said}");
    assert!(said.starts_with("error: ") && said.trim_end().lines().count() == 1, "{said}");
    for never in [SECRET, "panicked", "backtrace", "::"] {
        assert!(!said.contains(never), "{never:?}: {said}");
    }
}
