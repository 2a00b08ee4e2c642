//! See `fuzz_targets::send_properties`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::send_properties(data));
