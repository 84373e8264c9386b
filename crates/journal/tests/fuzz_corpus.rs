//! Replays every committed input of the fuzz target, so that what a fuzzer found once stays found.

#[path = "../fuzz/journal_body.rs"]
mod body;

#[test]
fn journal_fuzz_corpus_keeps_every_invariant() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");
    let mut inputs: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{corpus} is empty");
    for path in inputs {
        // The test's output names the input that broke an invariant.
        println!("{}", path.display());
        body::journal(&std::fs::read(&path).unwrap(), tempfile::tempdir().unwrap().path());
    }
}
