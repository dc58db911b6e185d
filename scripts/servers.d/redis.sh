# shellcheck shell=bash
# Redis that has written what it has answered, and throws nothing out to make room.

redis_version() { redis-server --version | sed 's/.* v=\([^ ]*\).*/\1/'; }
redis_packages() { command -v redis-server >/dev/null || echo redis-server; }
redis_exports() { export_line redis '' "redis://$(address redis)/"; }
redis_stop_signal() { echo TERM; }

redis_prepare() {
    mkdir "$RUN_DIR/redis/data"
    free_port >"$RUN_DIR/redis/port"
}

redis_launch() {
    launch "$RUN_DIR/redis/server.pid" redis-server --bind 127.0.0.1 --port "$(<"$RUN_DIR/redis/port")" \
        --dir "$RUN_DIR/redis/data" --appendonly yes --appendfsync always --maxmemory-policy noeviction
}

redis_ready() {
    [[ $(redis-cli -h 127.0.0.1 -p "$(<"$RUN_DIR/redis/port")" ping 2>/dev/null) == PONG ]]
}
