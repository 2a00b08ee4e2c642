//! See `fuzz_targets::message_properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::message_properties(data));
