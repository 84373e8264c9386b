#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    weir::fuzzing::journal(input, directory.path());
});
