//! See `fuzz_targets::light_queues`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::light_queues(data));
