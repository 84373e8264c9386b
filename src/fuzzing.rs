//! What fuzzers feed, and the committed corpora.
//!
//! The bodies of the fuzz targets are here and not in `fuzz/`, because what they call is nobody else's business: with the
//! feature `fuzzing` they are public, without it they are part of the unit tests alone, which replay each committed input.
//! Neither is in a release.

pub use crate::http::fuzzing::{client_ip, request};
pub use crate::journal::fuzzing::journal;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    /// Each committed input of a target, with its name.
    fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let files = std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path());
        let inputs: Vec<_> = files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
        assert!(!inputs.is_empty(), "{} is empty", directory.display());
        inputs
    }

    /// The test's output names the input that broke an invariant.
    fn replay(target: &str, read: impl Fn(&[u8])) {
        for (path, input) in corpus(target) {
            println!("{}", path.display());
            read(&input);
        }
    }

    #[test]
    fn every_known_request_is_read_as_it_should_be() {
        replay("request", super::request);
    }

    #[test]
    fn every_known_chain_of_proxies_names_the_right_client() {
        replay("client_ip", super::client_ip);
    }

    #[test]
    fn every_known_damage_costs_only_what_it_hits_and_is_named() {
        replay("journal", |input| super::journal(input, tempfile::tempdir().unwrap().path()));
    }
}
