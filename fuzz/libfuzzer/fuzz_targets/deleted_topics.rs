//! See `fuzz_targets::deleted_topics`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::deleted_topics(data));
