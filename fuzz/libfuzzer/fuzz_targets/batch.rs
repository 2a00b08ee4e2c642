//! See `fuzz_targets::batch`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::batch(data));
