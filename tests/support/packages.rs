//! Reads test data out of the packages that cargo has downloaded, so that nobody copies third-party files by hand.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// Where the sources of every package in the build lie, by name.
pub struct Packages(HashMap<String, PathBuf>);

impl Packages {
    /// Asks cargo, offline: whoever runs a test has downloaded what it was built from.
    #[must_use]
    pub fn locate() -> Self {
        let output = Command::new(env!("CARGO"))
            // Other platforms' packages were never downloaded, and offline cargo would miss them.
            .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", "host-tuple"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Metadata = serde_json::from_slice(&output.stdout).unwrap();
        Self(metadata.packages.into_iter().map(|package| (package.name, package.manifest_path)).collect())
    }

    /// The text of one file of one package. Bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn read(&self, package: &str, path: &str) -> String {
        let manifest = self.0.get(package).unwrap_or_else(|| panic!("{package} is not among the packages"));
        let file = manifest.with_file_name(path);
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
