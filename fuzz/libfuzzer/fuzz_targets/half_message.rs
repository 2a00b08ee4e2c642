//! See `fuzz_targets::half_message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::half_message(data));
