//! Runs `ackonce_fuzz::store_url`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ackonce_fuzz::store_url::run(data));
