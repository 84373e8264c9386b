//! Arms the fail points of a server while it runs.

use std::path::PathBuf;

use weir_testkit::{Backend, TestApp, UNTHROTTLED};

/// A server without throttles that is still to be launched, and its fail points.
pub async fn prepared(backend: Backend) -> (TestApp, FailPoints) {
    let mut app = TestApp::prepare(backend).await;
    app.set_all(UNTHROTTLED);
    let points = FailPoints::of(&mut app);
    (app, points)
}

/// The file that a server follows; see `weir_fail_points` for its language.
pub struct FailPoints {
    file: PathBuf,
}

impl FailPoints {
    /// For all later launches of this server. Nothing is armed yet.
    pub fn of(app: &mut TestApp) -> Self {
        let file = app.directory.path().join("fail-points");
        app.set("FAIL_POINTS_FILE", file.to_str().unwrap());
        Self { file }
    }

    /// Arms these points and no others, e.g. `journal.sync=return(5)`.
    pub fn arm(&self, points: &[&str]) {
        let fresh = self.file.with_extension("new");
        std::fs::write(&fresh, points.join("\n")).unwrap();
        // All at once: the server must not read half a file.
        std::fs::rename(&fresh, &self.file).unwrap();
    }

    pub fn disarm(&self) {
        self.arm(&[]);
    }
}
