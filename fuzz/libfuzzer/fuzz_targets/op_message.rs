//! See `fuzz_targets::op_message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::op_message(data));
