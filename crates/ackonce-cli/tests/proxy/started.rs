//! A proxy that was started as a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Ended with the test.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, without the settings of whoever runs the tests.
pub(crate) fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ackonce"));
    program.env_clear().arg("proxy");
    program
}

impl Proxy {
    /// In front of this upstream, on a port of the system's choice, with principal `none` unless told otherwise.
    pub(crate) fn start(upstream: &str, flags: &[&str]) -> Self {
        let mut program = program();
        program.args(["--listen", "127.0.0.1:0", "--log-format", "json", "--upstream", upstream]).args(flags);
        for (flag, value) in [("--principal", "none"), ("--store", "memory:")] {
            if !flags.contains(&flag) {
                program.args([flag, value]);
            }
        }
        let mut child = program.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = log.by_ref().map_while(Result::ok).find_map(|line| {
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            said.push(line);
            (event["message"] == "the proxy listens").then(|| event["address"].as_str().unwrap().to_owned())
        });
        let address = address.unwrap_or_else(|| panic!("it did not start: {said:#?}"));
        // Read to the end, or the process would wait for its log to be taken.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(|line| println!("{line}")));
        Self { child, url: format!("http://{address}") }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// `POST PATH` with a key: status, body, and whether it is a replay.
    pub(crate) async fn post(&self, path: &str, key: &str) -> (u16, String, bool) {
        answer(reqwest::Client::new().post(format!("{}{path}", self.url)).header("idempotency-key", key))
            .await
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, String, bool) {
    let answer = request.body("{}").send().await.unwrap();
    let (status, replayed) = (answer.status().as_u16(), answer.headers().contains_key("idempotent-replayed"));
    (status, answer.text().await.unwrap(), replayed)
}
