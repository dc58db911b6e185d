//! The real servers that tests use, and the notice of a test that had none.

use std::io::Write;

/// The address that `scripts/servers` exported in `variable`, such as `ACKONCE_TEST_REDIS`. `None` where it is not
/// set; [`not_tested`] then prints a notice.
///
/// # Panics
/// It is not set, and `ACKONCE_REQUIRE_SERVERS` is `1`.
#[must_use]
pub fn address(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok().filter(|address| !address.is_empty());
    if address.is_none() {
        not_tested(&format!("{variable} is not set"));
    }
    address
}

/// Prints on standard error that a test was not run, past the test harness, which captures the output of a test
/// that passes: a test that tested nothing must not look like one that passed.
///
/// # Panics
/// `ACKONCE_REQUIRE_SERVERS` is `1`: nothing may be left out then.
#[allow(clippy::panic, reason = "a test that may not be left out fails")]
pub fn not_tested(reason: &str) {
    let message = format!("NOT TESTED: {reason}; run scripts/test");
    if std::env::var_os("ACKONCE_REQUIRE_SERVERS").is_some_and(|value| value == "1") {
        panic!("{message}");
    }
    // Not `eprintln!`, which the harness captures. A standard error that is closed has no reader to tell.
    let _ = writeln!(std::io::stderr(), "{message}");
}
