//! See `fuzz_targets::timer_unit`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::timer_unit(data));
