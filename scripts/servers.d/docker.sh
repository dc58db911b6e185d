# shellcheck shell=bash
# The servers of docker-compose.yml.

docker_answers() { docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1; }

# The file has the ports, so that a server comes back at the same one.
compose() {
    docker compose -p "$(<"$RUN_DIR/project")" -f "$ROOT/docker-compose.yml" \
        --env-file "$RUN_DIR/ports.env" "$@"
}

docker_up() { # NAME…
    local name port since
    since=$(microseconds)
    for name; do
        port=$(free_port)
        echo "$port" >"$RUN_DIR/$name/port"
        echo "ACKONCE_$(tr '[:lower:]' '[:upper:]' <<<"$name")_PORT=$port"
        if [[ $name == rabbitmq ]]; then
            port=$(free_port)
            echo "$port" >"$RUN_DIR/$name/management_port"
            echo "ACKONCE_RABBITMQ_MANAGEMENT_PORT=$port"
        fi
    done >"$RUN_DIR/ports.env"
    echo "ackonce-test-$$" >"$RUN_DIR/project"
    if ! compose up -d --quiet-pull --wait "$@"; then
        tail -n 20 "$RUN_DIR/start-docker.log" >&9
        for name; do
            is_missing "$name" "docker compose up failed; ACKONCE_SERVERS_FROM=packages does without"
        done
        return 1
    fi
    for name; do
        {
            "${name}_exports"
            export_line "$name" VERSION "$(image_tag "$name")"
        } >"$RUN_DIR/$name/env.new"
        mv "$RUN_DIR/$name/env.new" "$RUN_DIR/$name/env"
        note "$name $(image_tag "$name") (docker) at $(address "$name"), up after $(since "$since")"
    done
}

docker_control() { # stop|kill|start|pause|resume NAME
    case $1 in
    start) compose up -d --wait --no-recreate "$2" ;;
    stop) compose stop -t 60 "$2" ;;
    kill) compose kill "$2" ;;
    pause) compose pause "$2" ;;
    resume) compose unpause "$2" ;;
    esac >&9 2>&1
}

docker_down() {
    [[ ! -e $RUN_DIR/project ]] || compose down -v -t 0 >/dev/null 2>&1 ||
        note "docker compose -p $(<"$RUN_DIR/project") down failed"
}
