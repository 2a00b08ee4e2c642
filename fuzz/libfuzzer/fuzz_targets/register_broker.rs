//! See `fuzz_targets::register_broker`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::register_broker(data));
