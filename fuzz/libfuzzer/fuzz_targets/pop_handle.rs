//! See `fuzz_targets::pop_handle`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::pop_handle(data));
