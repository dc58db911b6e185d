# shellcheck shell=bash
# RabbitMQ with a node name, a port mapper (epmd) and folders of its own.

RABBITMQ=/usr/lib/rabbitmq/bin/rabbitmq # what is in PATH changes the user

rabbitmq_version() { dpkg-query -W -f '${source:Upstream-Version}' rabbitmq-server; }
rabbitmq_packages() { [[ -x $RABBITMQ-server ]] || echo rabbitmq-server; }
rabbitmq_exports() {
    export_line rabbitmq '' "amqp://guest:guest@$(address rabbitmq)/%2f"
    export_line rabbitmq MANAGEMENT "127.0.0.1:$(<"$RUN_DIR/rabbitmq/management_port")"
}
rabbitmq_stop_signal() { echo TERM; }

rabbitmq_prepare() {
    local dir=$RUN_DIR/rabbitmq
    mkdir "$dir/data" "$dir/home"
    free_port >"$dir/port"
    free_port >"$dir/dist_port"
    free_port >"$dir/epmd_port"
    free_port >"$dir/management_port"
    # Asked what a queue is, not how it fares: that would cost every message something.
    cat >"$dir/rabbitmq.conf" <<END
management.tcp.ip = 127.0.0.1
management.tcp.port = $(<"$dir/management_port")
management_agent.disable_metrics_collector = true
END
    echo '[rabbitmq_management].' >"$dir/enabled_plugins"
    launch "$dir/epmd.pid" epmd -address 127.0.0.1 -port "$(<"$dir/epmd_port")"
}

rabbitmq_ctl() {
    local dir=$RUN_DIR/rabbitmq
    env HOME="$dir/home" ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$(<"$dir/epmd_port")" \
        RABBITMQ_CONF_ENV_FILE=/dev/null "${RABBITMQ}ctl" --node "ackonce-$(<"$dir/port")@localhost" "$@"
}

rabbitmq_launch() {
    local dir=$RUN_DIR/rabbitmq port
    port=$(<"$dir/port")
    # A quorum queue says every 200 ms, not every 5 s, how many messages it has.
    # "Under systemd" there is no shell around the Erlang machine, so the PID is the server's.
    launch "$dir/server.pid" env -u NOTIFY_SOCKET RUNNING_UNDER_SYSTEMD=1 HOME="$dir/home" \
        ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT="$(<"$dir/epmd_port")" ERL_CRASH_DUMP=/dev/null \
        RABBITMQ_NODENAME="ackonce-$port@localhost" \
        RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$port" \
        RABBITMQ_DIST_PORT="$(<"$dir/dist_port")" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1} -rabbit quorum_tick_interval 200' \
        RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" \
        RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir/log" RABBITMQ_LOGS=- \
        RABBITMQ_PID_FILE="$dir/pidfile" \
        "$RABBITMQ-server"
}

# It greets with a method frame, which begins with a 1.
rabbitmq_ready() {
    local greeting
    greeting=$(
        exec 2>/dev/null
        exec 3<>"/dev/tcp/127.0.0.1/$(<"$RUN_DIR/rabbitmq/port")"
        printf 'AMQP\x00\x00\x09\x01' >&3
        timeout 2 head -c 1 <&3 | od -An -tx1
    )
    [[ $greeting == *01* ]]
}
