//! PostgreSQL.

checks! {
    VERSION: Broken "postgres-version",
        "The server is PostgreSQL 14 or newer",
        "The store refuses the server",
        "upgrade the server";
    STANDBY: Broken "postgres-standby",
        "The server is a primary",
        "A standby takes no records",
        "connect to the primary: target_session_attrs=read-write in the URL finds it among several hosts";
    READ_ONLY: Broken "postgres-read-only",
        "Transactions of the role may write",
        "No claim can be recorded, and nothing runs",
        "ALTER ROLE NAME SET default_transaction_read_only = off";
    ENCODING: Broken "postgres-encoding",
        "The database's encoding is UTF8",
        "The store refuses the database, because it cannot hold every scope and reason",
        "a database that was created with ENCODING 'UTF8'";
    ASCII: Weakened "postgres-sql-ascii",
        "The database knows its encoding (not SQL_ASCII)",
        "Names and reasons are kept as bytes that nothing checks: other programs may show or compare them wrongly",
        "a database that was created with ENCODING 'UTF8'";
    FSYNC: Broken "postgres-fsync",
        "The server flushes its log (fsync=on)",
        "A crash of the server's machine loses or damages everything",
        "ALTER SYSTEM SET fsync = on, and SELECT pg_reload_conf()";
    FULL_PAGES: Broken "postgres-full-page-writes",
        "The server logs whole pages (full_page_writes=on)",
        "A crash of the server's machine may damage records",
        "ALTER SYSTEM SET full_page_writes = on, and SELECT pg_reload_conf()";
    DAMAGED_PAGES: Broken "postgres-zero-damaged-pages",
        "Damaged pages are reported (zero_damaged_pages=off)",
        "Damaged records are forgotten without a sign, and their messages run again",
        "ALTER SYSTEM SET zero_damaged_pages = off, and SELECT pg_reload_conf()";
    COMMIT: Weakened "postgres-synchronous-commit",
        "Transactions of the role wait for the disk (synchronous_commit is not off)",
        "The store waits for its own records, but a handler's other transactions do not: a crash loses an effect whose record says done",
        "ALTER ROLE NAME SET synchronous_commit = on";
    FAILOVER: Weakened "postgres-failover",
        "No replica can take over without the latest records",
        "A failover forgets the latest records, whose messages were acknowledged",
        "name synchronous replicas in synchronous_standby_names, with synchronous_commit = on";
    TABLES: Broken "postgres-tables",
        "The store's tables are there, or the store may create them",
        "The store does not start",
        "tables=create in the URL, or the SQL of PostgresStore::schema_sql, run by a role with the privilege CREATE";
    SCHEMA: Broken "postgres-schema-version",
        "The tables are of the version that this program reads",
        "The store refuses the tables",
        "upgrade the older of the two, or choose another schema with schema=NAME in the URL";
    UNLOGGED: Broken "postgres-unlogged",
        "The tables are logged",
        "A crash of the server empties them, and every message that is delivered again runs again",
        "ALTER TABLE ackonce.record SET LOGGED, and the same for ackonce.meta";
    OWNER: Weakened "postgres-owner",
        "All tables of the store have one owner",
        "Only an owner can change a table: the next migration stops half-way",
        "ALTER TABLE NAME OWNER TO ROLE, one role for all of them";
    RIGHTS: Broken "postgres-rights",
        "The role has every privilege that the store needs",
        "Claims fail, and nothing is acknowledged",
        "GRANT the privileges that are listed to the role";
    ROW_SECURITY: Broken "postgres-row-security",
        "No policy hides records from the role",
        "A record that the role does not see is a message that runs again, or a claim that fails",
        "ALTER TABLE ackonce.record DISABLE ROW LEVEL SECURITY";
    AUTOVACUUM: Weakened "postgres-autovacuum",
        "Autovacuum runs on the server and on the store's table",
        "The table grows without end, claims get slower, and in the end the server stops taking transactions",
        "ALTER SYSTEM SET autovacuum = on and track_counts = on; ALTER TABLE ackonce.record RESET (autovacuum_enabled)";
    DEAD_ROWS: Weakened "postgres-dead-rows",
        "Vacuum keeps up: fewer dead rows than half of the live ones, or than 50,000",
        "Each claim reads dead rows, and the table grows",
        "VACUUM ackonce.record, then look for long transactions and idle replication slots that hold it back";
    BLOAT: Weakened "postgres-bloat",
        "The table takes no more than four times the room of its rows",
        "Memory and disk are spent on empty pages, and claims get slower",
        "VACUUM FULL ackonce.record while no consumer runs, or pg_repack";
    CONNECTIONS: Weakened "postgres-connections",
        "The server has room for the store's connections",
        "A busy consumer gets no connection: claims and heartbeats wait, and leases are lost",
        "raise the limit that is listed (max_connections, or that of the role or the database), or connections=N in the URL";
    POOLER: Broken "postgres-pooler",
        "Prepared statements survive the pooler between store and server",
        "Claims fail as soon as a transaction gets another server process",
        "prepare=never in the URL, or PgBouncer 1.21 with max_prepared_statements";
    ISOLATION: Weakened "postgres-isolation",
        "Transactions of the role are READ COMMITTED by default",
        "The store is not touched, but a handler's transaction with a guard fails with 40001 where two meet, and has to be run again",
        "ALTER ROLE NAME SET default_transaction_isolation = 'read committed', or retry such transactions";
    STATEMENT_TIMEOUT: Weakened "postgres-statement-timeout",
        "The server's statement_timeout is above the store's own limit",
        "The server cancels claims that the store would still wait for, and sweeps of a large table never end",
        "ALTER ROLE NAME SET statement_timeout = 0, or request_timeout_ms=N in the URL below it";
    SLOTS: Weakened "postgres-idle-slot",
        "Every replication slot has a consumer, or a limit (max_slot_wal_keep_size)",
        "The server keeps its log for it until the disk is full, and then refuses every claim",
        "SELECT pg_drop_replication_slot('NAME'), or ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'";
    CLOCK: Weakened "postgres-clock",
        "The server's clock and this host's are within 5 seconds",
        "One of them is wrong: when the server's is set right, leases and windows end early or late by as much",
        "run a time service (chrony, systemd-timesyncd) on both hosts";
}
