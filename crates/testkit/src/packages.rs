//! Reads test data out of the packages that cargo has downloaded, so that no third-party file is copied into the tree.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use crate::workspace;

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
    /// Asks cargo, offline: what a test was built from has been downloaded.
    #[must_use]
    pub fn locate() -> Self {
        let output = Command::new(env!("CARGO"))
            // Other platforms' packages were never downloaded, and offline cargo would miss them.
            .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", "host-tuple"])
            .current_dir(workspace::root())
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
