//! The bodies of the fuzz targets. Each takes any bytes, and panics where a promise is broken; `seeds` are inputs that
//! reach far into it. `tests/tests/fuzz.rs` runs them with a stable compiler, so that they go on to compile and hold.

pub mod http_key;
pub mod http_record;
pub mod key;
pub mod relay_config;
pub mod row;
pub mod store_url;
pub mod tracker;
pub mod webhook_pattern;
pub mod webhook_signed;
pub mod webhook_stranger;

/// A target: its name, its body, and its seeds.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All of them.
pub const TARGETS: &[Target] = &[
    ("http_key", http_key::run, http_key::seeds),
    ("http_record", http_record::run, http_record::seeds),
    ("key", key::run, key::seeds),
    ("relay_config", relay_config::run, relay_config::seeds),
    ("row", row::run, row::seeds),
    ("store_url", store_url::run, store_url::seeds),
    ("tracker", tracker::run, tracker::seeds),
    ("webhook_pattern", webhook_pattern::run, webhook_pattern::seeds),
    ("webhook_signed", webhook_signed::run, webhook_signed::seeds),
    ("webhook_stranger", webhook_stranger::run, webhook_stranger::seeds),
];
