//! Runs `ackonce_fuzz::http_key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ackonce_fuzz::http_key::run(data));
