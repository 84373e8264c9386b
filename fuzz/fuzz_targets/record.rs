#![no_main]

#[path = "../../crates/domain/fuzz/record_body.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::record(input));
