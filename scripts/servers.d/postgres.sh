# shellcheck shell=bash
# PostgreSQL with its defaults, which are the durable ones.

postgres_version() { "$(postgres_bin)/postgres" --version | sed 's/[^0-9]*\([0-9.]*\).*/\1/'; }
# PgBouncer is for the tests that go through it.
postgres_packages() {
    local needed=()
    [[ -n $(postgres_bin) ]] || needed+=(postgresql)
    [[ -x /usr/sbin/pgbouncer ]] || needed+=(pgbouncer)
    echo "${needed[@]}"
}
postgres_exports() { export_line postgres '' "postgres://ackonce@$(address postgres)/ackonce"; }
postgres_stop_signal() { echo INT; } # TERM waits for clients to go

# Debian has several versions side by side and none of them in PATH.
postgres_bin() {
    local bin
    for bin in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
        if [[ -x $bin/postgres && -x $bin/initdb ]]; then echo "$bin" && return; fi
    done
}

# It refuses to run as root.
AS_POSTGRES=()
((EUID != 0)) || AS_POSTGRES=(setpriv --reuid=postgres --regid=postgres --init-groups)

postgres_prepare() {
    local dir=$RUN_DIR/postgres
    mkdir "$dir/data"
    ((EUID != 0)) || chown postgres "$dir/data"
    free_port >"$dir/port"
    cd / # initdb wants a folder that its user may be in
    # Launched like a server, so that an end to all this does not reach it half-way.
    launch "$dir/initdb.pid" "${AS_POSTGRES[@]}" "$(postgres_bin)/initdb" -D "$dir/data" --username=ackonce --auth=trust \
        --encoding=UTF8 --no-locale --no-sync --no-instructions
    wait "$(<"$dir/initdb.pid")"
}

# Dynamic shared memory in the data folder goes away with it. A test may have put an offset for the clock into a file.
postgres_launch() {
    local clock=()
    cd /
    postgres_forget
    if [[ -e $RUN_DIR/postgres/clock ]]; then
        clock=(env LD_PRELOAD="$(echo /usr/lib/*/faketime/libfaketime.so.1)" FAKETIME_NO_CACHE=1 NO_FAKE_STAT=1
            FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_TIMESTAMP_FILE="$RUN_DIR/postgres/clock")
    fi
    launch "$RUN_DIR/postgres/server.pid" "${AS_POSTGRES[@]}" ${clock[@]+"${clock[@]}"} "$(postgres_bin)/postgres" \
        -D "$RUN_DIR/postgres/data" -c listen_addresses=127.0.0.1 -p "$(<"$RUN_DIR/postgres/port")" \
        -c unix_socket_directories= -c dynamic_shared_memory_type=mmap
}

# Makes the database the first time.
postgres_ready() {
    local psql=("$(postgres_bin)/psql" -qX -h 127.0.0.1 -p "$(<"$RUN_DIR/postgres/port")" -U ackonce)
    "${psql[@]}" -c '' ackonce 2>/dev/null ||
        "${psql[@]}" -c 'create database ackonce' postgres 2>/dev/null
}

# initdb cannot be told to do without shared memory in /dev/shm, so it has to finish.
postgres_finish() { wait_gone 30 <<<"$(family "$RUN_DIR/postgres/initdb.pid")" || true; }

# What a killed one leaves: its lock, and the piece of shared memory by which it knows itself.
postgres_forget() {
    local lock=$RUN_DIR/postgres/data/postmaster.pid shared
    [[ -e $lock ]] || return 0
    shared=$(awk 'NR == 7 { print $2 }' "$lock")
    [[ -z $shared ]] || ipcrm -m "$shared" 2>/dev/null || true
    rm -f "$lock"
}

