#![no_main]

#[path = "../../crates/journal/fuzz/journal_body.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::journal(input, tempfile::tempdir().unwrap().path()));
