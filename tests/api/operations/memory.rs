//! What an idle server keeps.

use weir_testkit::{Backend, TestApp};

/// The allocator's large regions, backed by huge pages, took twice the memory.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_is_not_backed_by_huge_pages() {
    let app = TestApp::start(Backend::Sqlite).await;
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", app.pid())).unwrap();
    let huge = rollup.lines().find_map(|line| line.strip_prefix("AnonHugePages:")).unwrap();
    // One may stand behind what the allocator took before `main` could refuse them.
    let kibibytes: u64 = huge.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kibibytes <= 2048, "{rollup}");
}
