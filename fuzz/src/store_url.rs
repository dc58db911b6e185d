//! Any text as a store's URL: understood, or refused in one line, and a password is in neither.

use ackonce_cli::stores::{Place, StoreUrl};

const SECRET: &str = "s3cretw0rd";

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<StoreUrl>() {
        Ok(url) => {
            assert_eq!(url.with_secrets(), text);
            let shown = url.to_string();
            let again = shown.parse::<StoreUrl>().map(|again| again.to_string());
            // With two `@` the hidden part reaches to the last; a driver may end it at the first.
            let is_plain = text.matches('@').count() < 2;
            assert!(
                !is_plain || again.as_deref() == Ok(&shown[..]),
                "{text:?} is shown as {shown:?}: {again:?}"
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // The same with a password, which only servers have.
    let Some((scheme, rest)) = text.split_once("://") else { return };
    if text.contains(SECRET) || scheme.contains(['?', '@']) {
        return;
    }
    let told = match format!("{scheme}://u:{SECRET}@{rest}").parse::<StoreUrl>() {
        Ok(url) if matches!(url.place(), Place::Sqlite(_)) => return,
        Ok(url) => format!("{url} {url:?} {:?}", url.place()),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!told.contains(SECRET), "{text:?}: {told}");
}

pub fn seeds() -> Vec<Vec<u8>> {
    [
        "memory:",
        "sqlite:/var/lib/a.db?synchronous=full&busy_timeout_ms=5&max_bytes=9&generation=128&sweep=manual&names=keep",
        "redis://host:6379/1?prefix=a&connect_timeout_ms=5&unsafe=refuse&names=omit",
        "rediss+cluster://a:1,b:2?replicas=1&replicas_timeout_ms=100",
        "redis+unix:///run/r.sock?db=1&pass=x&prefix=a",
        "valkey://[::1]:7000/2?response_timeout_ms=500",
        "postgres://app:p%40ss@host:5432/db?schema=dedup&tables=create&connections=3&sslmode=require",
        "postgresql:///db?host=/run/postgresql&user=a&password=b&prepare=never",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
