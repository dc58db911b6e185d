use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[derive(Default)]
struct Switches {
    live: AtomicBool,
    ready: AtomicBool,
}

impl Liveness for Switches {
    fn is_live(&self) -> bool {
        self.live.load(Ordering::SeqCst)
    }
    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }
    fn report(&self) -> String {
        "partition 3 of orders: lag 17".to_owned()
    }
}

fn at(address: &str, exposed: bool) -> AdminArgs {
    AdminArgs { admin: Some(address::parse(address).unwrap()), admin_exposed: exposed }
}

fn bind(args: AdminArgs) -> Result<Option<Admin>, Refusal> {
    Admin::bind(args, &ConsoleArgs::default())
}

fn ask(address: SocketAddr, request: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// One test for all, because a process has one recorder.
#[test]
fn metrics_have_their_meaning_and_probes_their_state() {
    let admin = bind(at("0", false)).unwrap().unwrap();
    let address = admin.address().unwrap();
    assert!(address.ip().is_loopback());
    let switches = Arc::new(Switches::default());
    let server = admin.serve("test", switches.clone()).unwrap();

    let metric = ackonce::adapter::metric::METRICS[0];
    metric.describe();
    metric.counter_of(&["jobs", "leased"]).increment(2);
    metric.counter_of(&["a\u{7}b\nc", "leased"]).increment(1);
    let seconds = ackonce::adapter::metric::METRICS.iter().find(|m| m.name.ends_with("_seconds")).unwrap();
    seconds.histogram_of(&vec!["jobs"; seconds.labels.len()]).record(0.002);
    let text = ask(address, "GET /metrics");
    assert!(text.contains(&format!("# HELP {} {}", metric.name, metric.meaning)), "{text}");
    assert!(text.contains(&format!("{}{{scope=\"jobs\",class=\"leased\"}} 2", metric.name)), "{text}");
    assert!(text.contains(&format!("{}_bucket", seconds.name)), "{text}");

    assert!(text.contains(r"a\\u{7}b\\nc"), "{text}");
    assert!(!text.contains('\u{7}'), "a control character");

    for (path, switch) in [("/healthz", &switches.live), ("/readyz", &switches.ready)] {
        let answer = ask(address, &format!("GET {path}"));
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("lag 17"), "{answer}");
        switch.store(true, Ordering::SeqCst);
        let answer = ask(address, &format!("GET {path}"));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("lag 17"), "{answer}");
    }
    assert!(ask(address, "POST /healthz").starts_with("HTTP/1.1 405"));
    assert!(ask(address, "GET /").contains("once the store is there"));
    server.show(Arc::new(ackonce::MemoryStore::new()));
    let page = ask(address, "GET /");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("Ackonce <span>console"), "{page}");
    assert!(ask(address, "GET /metrics").contains(metric.name), "beside the console");

    let taken = bind(at(&address.to_string(), false)).unwrap_err();
    assert_eq!(taken.exit_code(), 3);
    assert!(
        taken.to_string().contains("--admin") && taken.to_string().contains("choose another port"),
        "{taken}"
    );
}

#[test]
fn an_address_that_other_hosts_reach_has_to_be_allowed() {
    let refused = bind(at("0.0.0.0:9090", false)).unwrap_err();
    assert_eq!(refused.exit_code(), 2);
    assert!(refused.to_string().contains("--admin-exposed"), "{refused}");
    assert!(address::allowed(at("0.0.0.0:9090", true)).unwrap().is_some());
    let alone = bind(AdminArgs { admin: None, admin_exposed: true }).unwrap_err();
    assert!(alone.to_string().contains("--admin-exposed"), "{alone}");
    assert!(bind(AdminArgs { admin: None, admin_exposed: false }).unwrap().is_none());
}

#[test]
fn a_port_alone_is_on_the_loopback_address() {
    for text in ["9090", ":9090", "localhost:9090", "127.0.0.1:9090"] {
        assert_eq!(address::parse(text).unwrap().to_string(), "127.0.0.1:9090");
    }
    assert_eq!(address::parse("[::1]:1").unwrap().to_string(), "[::1]:1");
    assert!(address::parse("metrics").is_err());
}

#[test]
fn a_pulse_beats_while_its_runtime_runs() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let pulse = runtime.block_on(async { Pulse::start() });
    assert!(pulse.beats());
    // A beat brings it down again.
    let mut before = pulse.since();
    loop {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let now = pulse.since();
        if now < before {
            break;
        }
        before = now;
    }
}
