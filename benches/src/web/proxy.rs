//! The program `ackonce proxy` beside the same forwarder without its layer, which stands for a plain reverse proxy such as
//! nginx: the same server and client of HTTP in both, so that the difference is the layer's and its store's.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use super::load::Load;
use super::server::serve;
use super::{Options, http, measure, runtime};

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let server = runtime()?;
    let bare = server.block_on(serve(http::app()))?;
    let directory = tempfile::tempdir()?;
    let sqlite = format!("sqlite:{}", directory.path().join("dedup.db").display());
    // The key concerns none of the requests that are sent, so each passes through.
    let plain = Proxy::start(bare, "memory:", &["--methods", "NONE"])?;
    let memory = Proxy::start(bare, "memory:", &["--window", "30s"])?;
    let file = Proxy::start(bare, &sqlite, &[])?;
    let servers = vec![
        ("bare upstream", bare),
        ("plain forwarder", plain.address),
        ("ackonce proxy, in memory", memory.address),
        ("ackonce proxy, SQLite", file.address),
    ];
    measure("HTTP proxy, JSON echo", options, servers, &Load::new(http::request, b"}"))
}

/// Ended when it is dropped.
struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    fn start(upstream: SocketAddr, store: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("ackonce");
        let mut child = Command::new(&program)
            .args(["proxy", "--listen=127.0.0.1:0", "--principal=bearer", "--log-format=json"])
            .args([format!("--upstream=http://{upstream}"), format!("--store={store}")])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| {
                format!("{} is built with `cargo build --release -p ackonce-cli`", program.display())
            })?;
        let mut log = BufReader::new(child.stderr.take().context("its log")?).lines();
        let address = log.by_ref().map_while(Result::ok).find_map(|line| {
            let event: serde_json::Value = serde_json::from_str(&line).ok()?;
            (event["message"] == "the proxy listens")
                .then(|| event["address"].as_str()?.parse().ok())
                .flatten()
        });
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        Ok(Self { child, address: address.context("ackonce proxy did not start")? })
    }
}
