# shellcheck shell=bash
# Notes, free ports, packages and processes. For scripts/servers and scripts/test.

note() { echo "servers: $*" >&9; }

die() {
    echo "servers: $*" >&9
    exit 1
}

is_missing() { # NAME REASON
    echo "$2" >"$RUN_DIR/$1/missing"
    echo "NOT TESTED: $1 ($2)" >&9
}

# For a starter: gives the reason and ends it.
give_up() { # NAME REASON
    is_missing "$@"
    exit 1
}

microseconds() {
    local now=${EPOCHREALTIME:-$(date +%s).000000} # an old bash has whole seconds
    echo "${now/[.,]/}"
}

since() { # MICROSECONDS
    local spent=$((($(microseconds) - $1) / 100000))
    echo "$((spent / 10)).$((spent % 10)) s"
}

# The tag of the image in docker-compose.yml; packages follow it where they can.
image_tag() { sed -n "s|^ *image: \(.*/\)\{0,1\}$1:||p" "$ROOT/docker-compose.yml"; }

export_line() { # NAME SUFFIX VALUE
    local variable
    case $1 in rabbitmq) variable=AMQP ;; *) variable=$(tr '[:lower:]' '[:upper:]' <<<"$1") ;; esac
    printf 'export ACKONCE_TEST_%s%s=%q\n' "$variable" "${2:+_$2}" "$3"
}

address() { echo "127.0.0.1:$(<"$RUN_DIR/$1/port")"; }

# Below the range the kernel takes ports for outgoing connections from. Nothing listens at a port for a while after it was
# chosen, so the choice is noted down, and then looked for in the notes of all runs: of two that choose the same port at the
# same time at least one chooses again.
free_port() {
    local port notes
    while :; do
        port=$((20000 + RANDOM % 12000))
        if ! mkdir "$RUN_DIR/port-$port" 2>/dev/null; then
            [[ -d $RUN_DIR ]] || exit 1 # the servers have been taken down
            continue
        fi
        notes=("${RUN_DIR%.*}".*/port-"$port")
        ((${#notes[@]} > 1)) || listens "$port" || break
    done
    echo "$port"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Installs Debian packages; `a|b` is the first of them the distribution has. Prints why not.
install_packages() {
    command -v apt-get >/dev/null || { echo "needs $*, and there is no apt-get" && return 1; }
    if ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
        echo "needs $*, and only root can install that" && return 1
    fi
    note "installing with apt-get: $*"
    local log status=0
    log=$(mktemp)
    install_packages_now "$@" >"$log" 2>&1 || status=$?
    if ((status)); then
        tail -n 20 "$log" >&9
        echo "apt-get could not install $*: $(grep -E '^E:' "$log" | head -n 1)"
    fi
    rm -f "$log"
    return "$status"
}

# In a subshell for its traps: nothing that gets installed may start as a system service.
install_packages_now() (
    policy=/usr/sbin/policy-rc.d
    as_root() { if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi; }
    apt() {
        as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
            apt-get -y -o DPkg::Lock::Timeout=300 "$@" </dev/null
    }
    exec 8</var/lib/dpkg # two runs at a time would mix up what is saved below
    flock 8
    apt update
    packages=()
    for wanted; do
        for package in ${wanted//|/ }; do
            ! apt-cache show --no-all-versions "$package" >/dev/null 2>&1 || break
        done
        packages+=("$package")
    done

    saved=$(mktemp -u "$policy.XXXXXX")
    [[ ! -e $policy ]] || as_root mv "$policy" "$saved"
    # shellcheck disable=SC2317 # the trap calls it
    restore() {
        as_root rm -f "$policy"
        [[ ! -e $saved ]] || as_root mv "$saved" "$policy"
    }
    trap restore EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null || exit 1
    as_root chmod 755 "$policy" || exit 1
    apt install --no-install-recommends "${packages[@]}"
)

# Starts a process of its own session, which Ctrl-C does not reach, and notes it down at once.
launch() { # PIDFILE COMMAND…
    local pid_file=$1 ended=
    shift
    trap 'ended=1' TERM
    setsid "$@" </dev/null >>"${pid_file%.pid}.log" 2>&1 9>&- &
    echo "$!" >"$pid_file"
    start_time "$!" >"$pid_file.time" || true
    trap - TERM
    [[ -z $ended ]] || exit 143
}

# When a process was started, in ticks since boot; nothing for a dead one. A zombie is dead when its
# last thread is: until then it may still hold ports.
start_time() { # PID
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # shellcheck disable=SC2086 # fields; the name before them may have spaces
    set -- ${stat##*) }
    [[ $1 != Z || ${18} -gt 1 ]] && echo "${20}"
}

# Is the process of this file running, and is it still that one?
alive() { # PIDFILE
    local now
    [[ -s $1 && -s $1.time ]] || return 1
    now=$(start_time "$(<"$1")") && [[ $now == "$(<"$1.time")" ]]
}

# The processes of its session and all below them, as `PID TIME` lines. A session outlives the
# process that began it, and its number is not given away before the last member is gone.
family() { # PIDFILE
    [[ -s $1 && -s $1.time ]] || return 0
    { cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v first="$(<"$1")" -v time="$(<"$1.time")" '
        { sub(/\(.*\) /, "") }
        $2 != "Z" || $19 > 1 { parent[$1] = $3; session[$1] = $5; start[$1] = $21 }
        END {
            if (first in start && start[first] != time) exit
            for (pid in start) if (session[pid] == first) ours[pid]
            do {
                more = 0
                for (pid in start)
                    if (!(pid in ours) && parent[pid] in ours) { ours[pid]; more = 1 }
            } while (more)
            for (pid in ours) print pid, start[pid]
        }'
}

send() { # SIGNAL < family
    local pid started
    while read -r pid started; do
        [[ $(start_time "$pid" || true) != "$started" ]] || kill "-$1" "$pid" 2>/dev/null || true
    done
}

wait_gone() { # SECONDS < family
    local pid started tries=$(($1 * 20))
    while read -r pid started; do
        while [[ $(start_time "$pid" || true) == "$started" ]]; do
            ((tries-- > 0)) || return 1
            sleep 0.05
        done
    done
}

wait_ready() { # NAME
    local end=$((SECONDS + 300))
    until "$1_ready"; do
        alive "$RUN_DIR/$1/server.pid" || die "$1 ended while it was starting"
        ((SECONDS < end)) || die "$1 does not answer after 5 minutes"
        sleep 0.1
    done
}

process_control() { # stop|kill|start|pause|resume NAME
    local file=$RUN_DIR/$2/server.pid members
    members=$(family "$file")
    case $1 in
    start)
        [[ -z $members ]] || die "$2 is running"
        "$2_launch"
        wait_ready "$2"
        ;;
    stop)
        alive "$file" || die "$2 is not running"
        kill "-$("$2_stop_signal")" "$(<"$file")"
        wait_gone 60 <<<"$members" || die "$2 does not stop"
        ;;
    kill) send KILL <<<"$members" && wait_gone 10 <<<"$members" ;;
    pause) send STOP <<<"$members" ;;
    resume) send CONT <<<"$members" ;;
    esac
}

# The data goes away, so nothing needs time to stop in order.
processes_down() {
    local file all=''
    each finish
    for file in "$RUN_DIR"/*/*.pid; do
        [[ ! -e $file ]] || all+=$(family "$file")$'\n'
    done
    all=$(grep . <<<"$all" || true)
    send KILL <<<"$all"
    wait_gone 10 <<<"$all" || note "some processes do not end: $all"
    each forget
}

# Calls the function NAME_$1 of every server that has one.
each() {
    local name
    for name in $(<"$RUN_DIR/names"); do
        ! declare -F "${name}_$1" >/dev/null || "${name}_$1"
    done
}
