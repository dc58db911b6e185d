//! Runs `ackonce_fuzz::key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ackonce_fuzz::key::run(data));
