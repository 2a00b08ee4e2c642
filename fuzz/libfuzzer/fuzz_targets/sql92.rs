//! See `fuzz_targets::sql92`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::sql92(data));
