# shellcheck shell=bash
# The driver of Chromium, which starts a browser for each test of a page. Always from packages: a browser has no data that an
# image would keep, and the pages that it opens are those of test processes on this host.

chromedriver_version() { chromedriver --version | awk '{ print $2 }'; }
chromedriver_packages() { command -v chromedriver >/dev/null || echo 'chromium|chromium-browser chromium-driver|chromium-chromedriver'; }
chromedriver_exports() { export_line chromedriver '' "http://$(address chromedriver)"; }
chromedriver_stop_signal() { echo TERM; }

chromedriver_prepare() {
    mkdir "$RUN_DIR/chromedriver/data"
    free_port >"$RUN_DIR/chromedriver/port"
}

chromedriver_launch() {
    launch "$RUN_DIR/chromedriver/server.pid" env TMPDIR="$RUN_DIR/chromedriver/data" \
        chromedriver --port="$(<"$RUN_DIR/chromedriver/port")"
}

chromedriver_ready() { listens "$(<"$RUN_DIR/chromedriver/port")"; }
