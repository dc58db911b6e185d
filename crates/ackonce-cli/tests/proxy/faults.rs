//! Wrong settings and missing servers: one sentence with the setting and the fix.

use std::io::Write as _;

use crate::started::program;

const NEEDED: [&str; 8] = [
    "--listen",
    "127.0.0.1:0",
    "--upstream",
    "http://127.0.0.1:9",
    "--store",
    "memory:",
    "--principal",
    "none",
];

/// Exit code and standard error; a flag that is given again goes over the one of `NEEDED`.
fn run(flags: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let kept = NEEDED.chunks(2).filter(|pair| !flags.contains(&pair[0])).flatten();
    let output = program().args(kept).args(flags).envs(environment.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stderr), text(output.stdout))
}

#[test]
fn each_fault_is_one_sentence_with_the_setting_and_the_fix() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["--leese", "1s"], 2, &["--leese", "--lease"]),
        (&["--lease", "30"], 2, &["--lease", "time unit needed"]),
        (&["--lease", "1ms"], 2, &["--lease"]),
        (&["--policy", "sucess"], 2, &["--policy", "success, not-5xx, all"]),
        (&["--principal", "cookie"], 2, &["--principal", "header:NAME, bearer and none"]),
        (&["--wait", "1s"], 2, &["--wait", "--in-flight wait"]),
        (&["--idle-timeout", "1s"], 2, &["--idle-timeout", "--upstream-timeout"]),
        (&["--connect-timeout", "0s"], 2, &["--connect-timeout"]),
        (&["--upstream-timeout", "3s"], 2, &["--connect-timeout", "--upstream-timeout"]),
        (&["--scope", "a\nb"], 2, &["--scope", "control character"]),
        (&["--methods", "post"], 2, &["--methods", "POST,PATCH"]),
        (&["--upstream", "ftp://a"], 2, &["--upstream", "http://HOST:PORT"]),
        (&["--upstream", "http://u:s3cret@a"], 2, &["--upstream", "take them out"]),
        (&["--upstream", "h2c://a", "--host", "client"], 2, &["--host client", "h2c://"]),
        (&["--store", "mysql://u:s3cret@a"], 2, &["--store", "postgres://"]),
        (&["--store", "sqlite:/nowhere/a.db"], 3, &["--store", "/nowhere", "create it"]),
        (&["--store", "redis://u:s3cret@127.0.0.1:9", "--on-start", "end"], 3, &["--store", "127.0.0.1:9"]),
        (&["--listen", &taken], 3, &["--listen", "choose another port"]),
        (&["--admin", &taken], 3, &["--admin", "choose another port"]),
        (&["--admin", "0.0.0.0:0"], 2, &["--admin", "--admin-exposed"]),
        (&["--config", "/nowhere/a.toml"], 3, &["--config", "/nowhere/a.toml"]),
    ];
    for (flags, code, words) in cases {
        let (exit, error, _) = run(flags, &[]);
        let last = error.lines().last().unwrap_or_default();
        assert_eq!(exit, *code, "{flags:?}: {error}");
        assert!(
            last.starts_with("error: ") && words.iter().all(|word| last.contains(word)),
            "{flags:?}: {error}"
        );
        assert!(!error.contains("s3cret") && !error.contains("panicked"), "{error}");
    }
    let (exit, error, _) = run(&[], &[("ACKONCE_LEASE", "soon")]);
    assert!(exit == 2 && error.contains("ACKONCE_LEASE"), "{error}");
    let output = program().output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("--listen") && error.contains("ACKONCE_"), "{error}");
}

#[test]
fn check_prints_each_setting_with_its_origin_and_everything_that_weakens_the_promise() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"lease = '20s'\nwindow = '48h'\npolicy = 'all'\n").unwrap();
    let path = file.path().to_str().unwrap();
    let environment = [("ACKONCE_WINDOW", "7d"), ("ACKONCE_POLICY", "not-5xx")];
    let (exit, error, report) = run(&["--config", path, "--policy", "success", "--check"], &environment);
    assert_eq!(exit, 0, "{error}");
    let line = |name: &str| {
        let line = report.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("lease"), format!("20s file {path}"));
    assert_eq!(line("window"), "7d environment ACKONCE_WINDOW");
    assert_eq!(line("policy"), "success flag");
    assert_eq!(line("wait"), "400ms default");
    assert!(
        report.contains("class leased on memory") && report.contains("weakened: --principal none"),
        "{report}"
    );
}

#[test]
fn times_that_no_clock_reaches_are_taken() {
    let (long, longer) = ("500000000000y", "580000000000y");
    let flags =
        ["--upstream-timeout", long, "--idle-timeout", longer, "--header-timeout", longer, "--drain", longer];
    let (exit, error, _) = run(&[&flags[..], &["--check"]].concat(), &[]);
    assert_eq!(exit, 0, "{error}");
}

#[test]
fn a_key_of_the_file_that_is_misspelt_is_refused_by_name() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"upstraem = 'http://a'\n").unwrap();
    let (exit, error, _) = run(&["--config", file.path().to_str().unwrap()], &[]);
    assert!(exit == 2 && error.contains("`upstraem`; the nearest one is `upstream`"), "{error}");
}
