//! See `fuzz_targets::delayed_message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::delayed_message(data));
