//! See `fuzz_targets::queue_mapping`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::queue_mapping(data));
