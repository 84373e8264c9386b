//! Replays every committed input of the fuzz targets that read requests, so that what a fuzzer found once stays found.

#[path = "../fuzz/bodies/client_ip.rs"]
mod client_ip;
#[path = "../fuzz/bodies/request.rs"]
mod request;

fn replay(target: &str, read: impl Fn(&[u8])) {
    let corpus = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut inputs: Vec<_> = std::fs::read_dir(&corpus).unwrap().map(|file| file.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{corpus} is empty");
    for path in inputs {
        // The test's output names the input that broke an invariant.
        println!("{}", path.display());
        read(&std::fs::read(&path).unwrap());
    }
}

#[test]
fn request_fuzz_corpus_keeps_every_invariant() {
    replay("request", request::request);
}

#[test]
fn client_ip_fuzz_corpus_keeps_every_invariant() {
    replay("client_ip", client_ip::client_ip);
}
