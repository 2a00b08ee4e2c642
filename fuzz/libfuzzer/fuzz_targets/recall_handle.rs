//! See `fuzz_targets::recall_handle`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::recall_handle(data));
