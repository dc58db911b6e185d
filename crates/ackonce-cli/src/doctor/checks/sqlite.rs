//! SQLite, and the store in memory.

checks! {
    MEMORY: Broken "memory-store",
        "Records outlive the process",
        "A restart or a second process runs every message again that is delivered again",
        "sqlite:PATH, redis://… or postgres://…";
    MISSING: Weakened "sqlite-missing",
        "The file is there",
        "No message is remembered; a store creates the file when it starts, also at a path that was mistyped",
        "mend the path, or start the store once";
    DIRECTORY: Broken "sqlite-directory",
        "The directory is there, and this user may create files in it",
        "SQLite cannot write its log beside the file, and the store does not open",
        "mkdir and chown the directory for the user of the consumer";
    READ_ONLY: Broken "sqlite-read-only",
        "This user may write to the file",
        "The store does not open",
        "chown the file for the user of the consumer, or mount its disk for writing";
    WORLD_WRITABLE: Weakened "sqlite-world-writable",
        "Not every user of the host may write to the file",
        "Any program of the host can forge or remove records",
        "chmod o-w the file";
    SHARED: Broken "sqlite-shared-filesystem",
        "The file is on a disk of this host",
        "SQLite's log needs locks and memory of one host: two hosts damage the file, and the store refuses it",
        "a local disk, or PostgreSQL or Redis for several hosts";
    FUSE: Broken "sqlite-fuse",
        "The file is not on FUSE",
        "Locks and flushes may not be real there, and the store refuses it unless the URL says fuse=allow",
        "a local disk";
    TMPFS: Broken "sqlite-tmpfs",
        "The file is not in memory (tmpfs)",
        "Every record is lost when the machine or the container restarts",
        "a directory on a disk";
    CONTAINER: Broken "sqlite-container",
        "The file is not in a container's own layer (overlayfs)",
        "Its records are lost with the container",
        "a volume";
    SYNCHRONOUS: Weakened "sqlite-synchronous",
        "Each record is flushed before it is answered (synchronous=full)",
        "A power cut loses the latest records, whose messages were acknowledged",
        "synchronous=full in the URL";
    JOURNAL: Weakened "sqlite-journal",
        "The file is in the journal mode WAL",
        "Another program has switched it: readers and the store block each other, and the switch back needs the file alone",
        "PRAGMA journal_mode = WAL, and leave that setting to the store";
    LOG_SIZE: Weakened "sqlite-wal-size",
        "The log is below 128 MiB",
        "A reader that never ends keeps the log from starting over: it fills the disk, and reads get slower",
        "find the program that keeps a read transaction open (fuser FILE), and end it";
    MAX_BYTES: Weakened "sqlite-max-bytes",
        "At least a tenth of max_bytes is free",
        "A full file refuses claims: messages wait until records expire",
        "raise max_bytes in the URL, or shorten --window";
    DISK: Weakened "sqlite-disk",
        "The disk has 64 MiB free, and a twentieth of its room or 1 GiB",
        "A full disk refuses claims: messages wait until there is room",
        "free disk space";
    RESERVE: Weakened "sqlite-reserve",
        "The reserve beside a file in use is there",
        "Once the disk is full, no sweep can make room any more",
        "let the user of the consumer create FILE-reserve: it takes 4 MiB";
    SCHEMA: Broken "sqlite-schema-version",
        "The tables are of the version that this program reads",
        "The store refuses the file",
        "upgrade the program, or move the file away to start without records";
    DAMAGED: Broken "sqlite-damaged",
        "Every page of the file is sound (asked with --deep)",
        "Records in damaged pages are lost, and their messages run again",
        "restore a backup, or move the file away to start without records; then test the disk";
    CLOCK: Weakened "sqlite-clock",
        "No record is from the future",
        "The host's clock was wrong then, or is now: a jump forward ends leases and windows early, and messages run again",
        "run a time service (chrony, systemd-timesyncd)";
}
