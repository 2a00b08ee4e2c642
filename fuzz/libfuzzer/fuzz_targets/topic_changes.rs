//! See `fuzz_targets::topic_changes`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::topic_changes(data));
