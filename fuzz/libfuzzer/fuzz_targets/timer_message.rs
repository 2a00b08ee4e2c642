//! See `fuzz_targets::timer_message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::timer_message(data));
