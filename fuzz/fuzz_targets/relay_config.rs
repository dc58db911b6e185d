//! Runs `ackonce_fuzz::relay_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ackonce_fuzz::relay_config::run(data));
