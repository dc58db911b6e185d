//! Runs `ackonce_fuzz::webhook_pattern`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ackonce_fuzz::webhook_pattern::run(data));
