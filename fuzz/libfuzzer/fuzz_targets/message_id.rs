//! See `fuzz_targets::message_id`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::message_id(data));
