//! Behind a real PgBouncer in transaction mode: each transaction gets another connection to the server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ackonce::store::{Inspect, Settle};
use ackonce::{Context, Deduplicator, ErrorKind, Failure, Handler};
use ackonce_postgres::tokio_postgres::Transaction;
use ackonce_postgres::{Entered, GuardOptions, PostgresGuard, Prepare};
use ackonce_testkit::{conformance, inspection};
use async_trait::async_trait;
use common::own::Own;
use common::{Place, acquire, is_done, item, key, place, request};
use tempfile::TempDir;

struct Pooler {
    shell: Child,
    port: u16,
    /// Its program, where the server of all tests is a container.
    _own: Option<Own>,
    _directory: TempDir,
}

impl Pooler {
    /// In front of the place's server: `wide` with four connections to it, `narrow` with one.
    async fn start(place: &Place) -> Self {
        let program = "/usr/sbin/pgbouncer";
        // Starting a server installs the packages that its tests need.
        let own = if std::fs::exists(program).unwrap() { None } else { Own::start() };
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (user, server) = place.url.split_once("://").unwrap().1.split_once('@').unwrap();
        let (host, database) = server.split_once('/').unwrap();
        let (host, server_port) = host.split_once(':').unwrap();
        let to = format!("host={host} port={server_port} dbname={database} user={user}");
        let config = format!(
            "[databases]\nwide = {to} pool_size=4\nnarrow = {to} pool_size=1\n[pgbouncer]\nlisten_addr=127.0.0.1\n\
             listen_port={port}\nunix_socket_dir=\nauth_type=any\npool_mode=transaction\nmax_client_conn=500\n"
        );
        let file = directory.path().join("pgbouncer.ini");
        std::fs::write(&file, config).unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let is_root = std::fs::metadata(&file).unwrap().uid() == 0;
        let user = if is_root { "setpriv --reuid=postgres --regid=postgres --init-groups" } else { "" };
        // It ends with this process, however that ends.
        let text = format!("{user} {program} -q {} & cat; kill $!; wait", file.display());
        let shell = Command::new("sh").args(["-c", &text]).stdin(Stdio::piped()).spawn().unwrap();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Self { shell, port, _own: own, _directory: directory }
    }

    fn place(&self, database: &str, behind: &Place) -> Place {
        Place {
            url: format!("postgres://anybody@127.0.0.1:{}/{database}", self.port),
            schema: behind.schema.clone(),
        }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

#[derive(Clone)]
struct Pooled(Place);

impl Pooled {
    async fn store(&self) -> ackonce_postgres::PostgresStore {
        self.0.config().with_prepare(Prepare::Never).connect().await.unwrap()
    }
}

#[async_trait]
impl conformance::Fixture for Pooled {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        Arc::new(self.store().await)
    }

    async fn reopen(&self) -> Arc<dyn Deduplicator> {
        conformance::Fixture::open(self).await
    }

    async fn breakable(&self) -> Box<dyn conformance::Breakable> {
        self.0.wire(Prepare::Never).await
    }

    fn impossible(&self) -> Option<Settle> {
        Some(common::impossible())
    }

    async fn held(&self) -> u64 {
        conformance::swept(&self.store().await).await
    }
}

#[async_trait]
impl inspection::Fixture for Pooled {
    async fn open(&self) -> Arc<dyn Inspect> {
        Arc::new(self.store().await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suites_hold_unprepared() {
    let Some(direct) = place() else { return };
    let pooler = Pooler::start(&direct).await;
    let pooled = Pooled(pooler.place("wide", &direct));
    let report = conformance::run_all(&pooled).await;
    assert!(report.failed.is_empty() && !report.passed.is_empty(), "{:#?}", report.failed);
    let report = inspection::run_all(|| pooled.clone()).await;
    assert!(report.failed.is_empty() && !report.passed.is_empty(), "{:#?}", report.failed);
}

#[tokio::test]
async fn the_inbox_and_the_guard_work_unprepared() {
    let Some(direct) = place() else { return };
    let pooler = Pooler::start(&direct).await;
    let store = Pooled(pooler.place("wide", &direct)).store().await;
    let client = direct.client().await;
    client.batch_execute("CREATE TABLE effect (id text)").await.unwrap();
    let insert = direct.text("INSERT INTO effect VALUES ('x')");
    let inbox = store.inbox(move |tx: &Transaction<'_>, _: Context, (): ()| {
        let insert = insert.clone();
        Box::pin(async move { Ok::<_, Failure>(tx.batch_execute(&insert).await?) })
    });
    for ids in [&["alone"][..], &["a", "b", "c"]] {
        let mut items = Vec::new();
        for id in ids {
            items.push(item(&acquire(&store, request(id)).await, ()));
        }
        let answers = inbox.handle(items).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
    assert_eq!(direct.value("SELECT count(*) FROM effect").await, 4);

    let mut client = common::connect(&pooler.place("wide", &direct).url).await;
    let tx = client.transaction().await.unwrap();
    let options = GuardOptions::default();
    let Entered::First(guard) =
        PostgresGuard::enter_in(&direct.schema, &tx, &key("guarded"), &options).await.unwrap()
    else {
        panic!()
    };
    guard.finish(&tx).await.unwrap();
    tx.commit().await.unwrap();
    assert!(is_done(&store, "guarded").await);
}

/// A setting of one session does not reach the next one on the same connection.
#[tokio::test]
async fn nothing_is_left_in_the_session() {
    let Some(direct) = place() else { return };
    let pooler = Pooler::start(&direct).await;
    let narrow = pooler.place("narrow", &direct);
    let settings = ["synchronous_commit", "lock_timeout", "idle_in_transaction_session_timeout"];
    let client = common::connect(&narrow.url).await;
    let read = async || {
        let mut values = Vec::new();
        for setting in settings {
            let rows = client.simple_query(&format!("SHOW {setting}")).await.unwrap();
            values.push(format!("{rows:?}"));
        }
        values
    };
    let before = read().await;
    let store = Pooled(narrow.clone()).store().await;
    let lease = acquire(&store, request("a")).await;
    let inbox =
        store.inbox(|_: &Transaction<'_>, _: Context, (): ()| Box::pin(async { Ok::<_, Failure>(()) }));
    assert!(inbox.handle(vec![item(&lease, ())]).await[0].is_ok());
    assert_eq!(read().await, before);
}

#[tokio::test]
async fn prepared_statements_where_they_cannot_work_are_named() {
    let Some(direct) = place() else { return };
    let pooler = Pooler::start(&direct).await;
    let narrow = pooler.place("narrow", &direct);
    let config = || narrow.config().with_connections(1);
    // A statement stays on the connection when its client is gone, and the next client's has the same name.
    let prepared = common::connect(&narrow.url).await;
    for n in 0..2000 {
        let _ = prepared.batch_execute(&format!("PREPARE s{n} AS SELECT 1")).await;
    }
    let store = config().connect().await.unwrap();
    let error = store.claim(&[request("a")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(ackonce::chain(&error).to_string().contains("Prepare::Never"), "{error}");
    let store = config().with_prepare(Prepare::Never).connect().await.unwrap();
    acquire(&store, request("a")).await;
}
