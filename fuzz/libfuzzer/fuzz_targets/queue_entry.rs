//! See `fuzz_targets::queue_entry`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::queue_entry(data));
