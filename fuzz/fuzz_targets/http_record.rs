//! Runs `ackonce_fuzz::http_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ackonce_fuzz::http_record::run(data));
