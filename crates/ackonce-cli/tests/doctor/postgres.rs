use std::process::{Child, Command, Stdio};

use crate::Examined;
use crate::own::Postgres;

fn look(url: &str) -> Examined {
    Examined::of(&["--store", url])
}

/// Statements that set something wrong, statements that set it right again, and the findings.
type Case = (&'static [&'static str], &'static [&'static str], &'static [&'static str], i32);

#[rustfmt::skip]
const OF_ROLE: [Case; 6] = [
    (&["ALTER ROLE ackonce SET default_transaction_read_only = on"],
        &["SET default_transaction_read_only = off", "ALTER ROLE ackonce RESET ALL"], &["postgres-read-only"], 4),
    (&["ALTER ROLE ackonce SET default_transaction_isolation = 'serializable'"], &["ALTER ROLE ackonce RESET ALL"],
        &["postgres-isolation"], 1),
    (&["ALTER ROLE ackonce SET statement_timeout = '1s'"], &["ALTER ROLE ackonce RESET ALL"],
        &["postgres-statement-timeout"], 1),
    (&["ALTER ROLE ackonce SET synchronous_commit = off"], &["ALTER ROLE ackonce RESET ALL"],
        &["postgres-synchronous-commit"], 1),
    (&["ALTER ROLE ackonce SET zero_damaged_pages = on"], &["ALTER ROLE ackonce RESET ALL"],
        &["postgres-zero-damaged-pages"], 4),
    (&["ALTER ROLE ackonce CONNECTION LIMIT 3"], &["ALTER ROLE ackonce CONNECTION LIMIT -1"],
        &["postgres-connections"], 1),
];

#[rustfmt::skip]
const OF_TABLES: [Case; 8] = [
    (&["ALTER TABLE ackonce.record SET UNLOGGED"], &["ALTER TABLE ackonce.record SET LOGGED"], &["postgres-unlogged"], 4),
    (&["ALTER TABLE ackonce.record SET (autovacuum_enabled = off)"], &["ALTER TABLE ackonce.record RESET (autovacuum_enabled)"],
        &["postgres-autovacuum"], 1),
    (&["CREATE ROLE somebody; ALTER TABLE ackonce.audit OWNER TO somebody"], &["ALTER TABLE ackonce.audit OWNER TO ackonce"],
        &["postgres-owner"], 1),
    (&["UPDATE ackonce.meta SET version = version + 1"], &["UPDATE ackonce.meta SET version = version - 1"],
        &["postgres-schema-version"], 4),
    (&["UPDATE ackonce.meta SET version = version - 1"], &["UPDATE ackonce.meta SET version = version + 1"],
        &["postgres-schema-version"], 4),
    (&["ALTER TABLE ackonce.meta RENAME version TO v"], &["ALTER TABLE ackonce.meta RENAME v TO version"],
        &["postgres-schema-version"], 4),
    (&["SELECT pg_create_physical_replication_slot('nobody', true)"], &["SELECT pg_drop_replication_slot('nobody')"],
        &["postgres-idle-slot"], 1),
    (&["ALTER SCHEMA ackonce RENAME TO elsewhere"], &["ALTER SCHEMA elsewhere RENAME TO ackonce"], &["postgres-tables"], 4),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_misconfiguration_is_found_and_a_sound_server_is_not_accused() {
    let Some(server) = Postgres::start() else { return };
    let url = server.url.clone();
    look(&url).finds(&["postgres-tables"], 4);
    // The store may create them.
    look(&format!("{url}?tables=create")).is_sound();
    ackonce_postgres::PostgresConfig::new(&url).unwrap().create_schema().await.unwrap();
    look(&url).is_sound();
    for (wrong, right, names, code) in OF_ROLE.iter().chain(&OF_TABLES) {
        server.run(wrong).await;
        look(&url).finds(names, *code);
        server.run(right).await;
    }
    look(&url).is_sound();
    of_server(&server).await;
    databases(&server).await;
    rights(&server).await;
    dead_rows(&server).await;
}

async fn of_server(server: &Postgres) {
    for (name, value, names, code) in [
        ("fsync", "off", &["postgres-fsync"][..], 4),
        ("full_page_writes", "off", &["postgres-full-page-writes"], 4),
        ("autovacuum", "off", &["postgres-autovacuum"], 1),
        ("track_counts", "off", &["postgres-autovacuum"], 1),
    ] {
        server.run(&[&format!("ALTER SYSTEM SET {name} = {value}"), "SELECT pg_reload_conf()"]).await;
        server.until_shown(name, value).await;
        look(&server.url).finds(names, code);
        server.run(&[&format!("ALTER SYSTEM RESET {name}"), "SELECT pg_reload_conf()"]).await;
        server.until_shown(name, "on").await;
    }
    // A standby that is named and not waited for.
    server.run(&["ALTER ROLE ackonce SET synchronous_commit = 'local'"]).await;
    server.run(&["ALTER SYSTEM SET synchronous_standby_names = 'other'", "SELECT pg_reload_conf()"]).await;
    server.until_shown("synchronous_standby_names", "other").await;
    look(&server.url).finds(&["postgres-failover"], 1);
    server.run(&["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"]).await;
    server.until_shown("synchronous_standby_names", "").await;
    server.run(&["ALTER ROLE ackonce RESET ALL"]).await;
}

async fn databases(server: &Postgres) {
    for (name, encoding, names, code) in
        [("ascii", "SQL_ASCII", "postgres-sql-ascii", 1), ("latin", "LATIN1", "postgres-encoding", 4)]
    {
        let create = format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        server.run(&[&create]).await;
        look(&format!("{}?tables=create", server.database(name))).finds(&[names], code);
    }
}

async fn rights(server: &Postgres) {
    server.run(&["CREATE ROLE app LOGIN"]).await;
    let url = server.role("app");
    let examined = look(&url);
    assert!(
        examined.code == 4 && examined.json.to_string().contains("USAGE ON SCHEMA"),
        "{:#}",
        examined.json
    );
    server
        .run(&["GRANT USAGE ON SCHEMA ackonce TO app; GRANT SELECT ON ALL TABLES IN SCHEMA ackonce TO app"])
        .await;
    let examined = look(&url);
    examined.finds(&["postgres-rights"], 4);
    assert!(examined.json.to_string().contains("INSERT ON record"), "{:#}", examined.json);
    server.run(&["GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ackonce TO app"]).await;
    look(&url).is_sound();
    // Policies bind neither an owner nor a superuser.
    server.run(&["ALTER TABLE ackonce.record ENABLE ROW LEVEL SECURITY"]).await;
    look(&url).finds(&["postgres-row-security"], 4);
    look(&server.url).is_sound();
    server.run(&["ALTER TABLE ackonce.record DISABLE ROW LEVEL SECURITY"]).await;
}

async fn dead_rows(server: &Postgres) {
    let fill = "INSERT INTO ackonce.record (key, fence, expires) \
                SELECT gen_random_uuid(), n, 0 FROM generate_series(1, 400000) n";
    server.run(&["ALTER TABLE ackonce.record SET (autovacuum_enabled = off)", fill]).await;
    server.run(&["DELETE FROM ackonce.record", "SELECT pg_stat_force_next_flush()"]).await;
    look(&server.url).finds(&["postgres-autovacuum", "postgres-dead-rows"], 1);
    server.run(&["VACUUM ackonce.record", "ALTER TABLE ackonce.record RESET (autovacuum_enabled)"]).await;
    look(&server.url).finds(&["postgres-bloat"], 1);
    server.run(&["VACUUM FULL ackonce.record", "ANALYZE ackonce.record"]).await;
    look(&server.url).is_sound();
}

/// PgBouncer in transaction mode; it ends with this process, however that ends.
struct Pooler {
    shell: Child,
    _directory: tempfile::TempDir,
    port: u16,
}

impl Pooler {
    fn start(server: &str, more: &str) -> Self {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let directory = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = server.split_once('@').unwrap().1.split('/').next().unwrap();
        let server_port = server.split_once(':').unwrap().1;
        let config = format!(
            "[databases]\nackonce = host=127.0.0.1 port={server_port} dbname=ackonce user=ackonce pool_size=4\n\
             narrow = host=127.0.0.1 port={server_port} dbname=ackonce user=ackonce pool_size=1\n\
             [pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\nauth_type=any\n\
             pool_mode=transaction\n{more}\n"
        );
        let file = directory.path().join("pgbouncer.ini");
        std::fs::write(&file, config).unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let is_root = std::fs::metadata(&file).unwrap().uid() == 0;
        let user = if is_root { "setpriv --reuid=postgres --regid=postgres --init-groups" } else { "" };
        let text = format!("{user} /usr/sbin/pgbouncer -q {} & cat; kill $!; wait", file.display());
        let shell = Command::new("sh").args(["-c", &text]).stdin(Stdio::piped()).spawn().unwrap();
        crate::own::until("pgbouncer listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { shell, _directory: directory, port }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_loses_prepared_statements_is_found() {
    let Some(server) = Postgres::start() else { return };
    ackonce_postgres::PostgresConfig::new(&server.url).unwrap().create_schema().await.unwrap();
    let pooler = Pooler::start(&server.url, "");
    let url = format!("postgres://anybody@127.0.0.1:{}/ackonce", pooler.port);
    look(&url).finds(&["postgres-pooler"], 4);
    look(&format!("{url}?prepare=never")).is_sound();
    // With a single process behind it nothing can be swapped.
    let narrow = url.replace("/ackonce", "/narrow");
    look(&format!("{narrow}?request_timeout_ms=1000")).leaves_out(&["postgres-pooler"], "second connection");
}
