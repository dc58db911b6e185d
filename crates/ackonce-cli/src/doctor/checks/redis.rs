//! Redis and Valkey.

checks! {
    VERSION: Broken "redis-version",
        "The server is Redis 7.0 or newer, or Valkey",
        "The store refuses the server, because its scripts need Redis 7",
        "upgrade the server";
    MODE: Broken "redis-mode",
        "The URL fits the server: a single server, or a cluster",
        "The store refuses the server",
        "write redis+cluster:// for a cluster, redis:// for a single server, and the primary's address in place of a sentinel's";
    CLUSTER: Broken "redis-cluster",
        "Every slot of the cluster is served",
        "Messages whose keys are in the missing slots are neither run nor acknowledged",
        "bring the missing servers back, or assign the slots: redis-cli --cluster fix HOST:PORT";
    ROLE: Broken "redis-role",
        "The server is a primary",
        "A replica takes no records, or loses them when it next copies its primary",
        "connect to the primary";
    RIGHTS: Broken "redis-rights",
        "The user may run every command that the store needs",
        "Claims fail, and nothing is acknowledged",
        "ACL SETUSER NAME with the rules that are listed";
    EVICTION: Broken "redis-eviction",
        "The server throws no record out to make room",
        "Records are thrown out when memory is short, and their messages run again",
        "CONFIG SET maxmemory-policy noeviction, or a server of its own";
    EVICTED: Weakened "redis-evicted",
        "The server has thrown no key out since it started",
        "Records may be missing already, and their messages run again if they are delivered again",
        "find the program that sets maxmemory-policy; CONFIG RESETSTAT ends this finding";
    MEMORY: Weakened "redis-memory",
        "At least a tenth of maxmemory is free",
        "A full server refuses claims: messages wait until records expire",
        "raise maxmemory, or shorten --window";
    NO_PERSISTENCE: Broken "redis-no-persistence",
        "Records are written to disk",
        "A restart forgets every record, and every message that is delivered again runs again",
        "CONFIG SET appendonly yes, and CONFIG SET appendfsync always";
    SNAPSHOTS: Weakened "redis-snapshots-only",
        "Records are written to an append-only file, not to snapshots alone",
        "A crash forgets all records since the last snapshot, and their messages run again if they are delivered again",
        "CONFIG SET appendonly yes, and CONFIG SET appendfsync always";
    FSYNC: Weakened "redis-fsync",
        "Each record is on the disk before it is answered (appendfsync always)",
        "A power cut forgets the latest records, whose messages were acknowledged",
        "CONFIG SET appendfsync always";
    FSYNC_REWRITE: Weakened "redis-fsync-rewrite",
        "Records are flushed while the append-only file is rewritten, too",
        "A power cut during a rewrite forgets the records of that time",
        "CONFIG SET no-appendfsync-on-rewrite no";
    WRITE_STATUS: Broken "redis-write-failed",
        "The last write to the append-only file has succeeded, and so has the last snapshot that the server stops for",
        "The server refuses every claim until it can write again",
        "free disk space, or mend the permissions of the server's directory";
    STOP_WRITES: Weakened "redis-stop-writes",
        "The server stops for a snapshot that fails",
        "Snapshots may fail for days without a sign, and a restart then forgets as much",
        "CONFIG SET stop-writes-on-bgsave-error yes";
    FAILOVER: Weakened "redis-failover",
        "No replica can take over without the latest records",
        "Replication is asynchronous: a failover forgets records that the new primary had not received",
        "replicas=N in the URL makes it less likely; for effects that must not double, a PostgreSQL with synchronous replication";
    CLOCK: Weakened "redis-clock",
        "The server's clock and this host's are within 5 seconds",
        "One of them is wrong: when the server's is set right, leases and windows end early or late by as much",
        "run a time service (chrony, systemd-timesyncd) on both hosts";
}
