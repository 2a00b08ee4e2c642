//! See `fuzz_targets::registry`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::registry(data));
