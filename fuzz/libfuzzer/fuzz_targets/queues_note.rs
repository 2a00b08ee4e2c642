//! See `fuzz_targets::queues_note`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::queues_note(data));
