//! See `fuzz_targets::namesrv_config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::namesrv_config(data));
