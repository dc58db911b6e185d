//! Runs `ackonce_fuzz::webhook_signed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ackonce_fuzz::webhook_signed::run(data));
