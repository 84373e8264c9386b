//! Where the program under test and the workspace's files are.

use std::path::{Path, PathBuf};

/// The root of the workspace: where `scripts/` and `docs/` lie.
pub fn root() -> &'static Path {
    // Two directories above this crate's own.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies in crates/")
}

/// The Weir that tests start: the program in `TEST_WEIR_BIN`, else the one that cargo has built for this suite, else
/// the one beside the running test.
///
/// # Panics
///
/// When none of them is there. Cargo builds it for the suites of the root package alone; for others, run
/// `cargo build --bin weir` first.
pub fn weir_binary() -> PathBuf {
    // Cargo sets the second one for integration tests and benchmarks, at run time from version 1.94 on.
    for variable in ["TEST_WEIR_BIN", "CARGO_BIN_EXE_weir"] {
        if let Some(path) = std::env::var_os(variable) {
            return path.into();
        }
    }
    let test = std::env::current_exe().expect("a running program has a path");
    // A test is target/<profile>/deps/<name>-<hash>.
    let beside = test.ancestors().skip(1).take(2).map(|directory| directory.join("weir")).find(|path| path.is_file());
    beside.unwrap_or_else(|| {
        panic!("no program weir beside {}: cargo build --bin weir, or set TEST_WEIR_BIN", test.display())
    })
}
