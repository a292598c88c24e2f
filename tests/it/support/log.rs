//! The access log of a gateway, read as its operators read it.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use super::eventually_some;

/// A log file of a gateway.
pub(crate) struct Log {
    directory: TempDir,
}

impl Log {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("access.log")
    }

    /// What a gateway is told of it.
    pub(crate) fn table(&self) -> String {
        format!("[log]\naccess = {:?}\n", self.path())
    }

    /// What is written, once there are this many lines.
    pub(crate) async fn text(&self, count: usize) -> String {
        let lines = eventually_some("enough lines", async || {
            let text = std::fs::read_to_string(self.path()).unwrap();
            (text.ends_with('\n') && text.lines().count() >= count).then_some(text)
        });
        lines.await
    }

    /// The lines, once there are this many.
    pub(crate) async fn lines(&self, count: usize) -> Vec<Value> {
        let text = self.text(count).await;
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert_eq!(lines.len(), count, "{text}");
        lines
    }

    /// The only line.
    pub(crate) async fn only(&self) -> Value {
        self.lines(1).await.remove(0)
    }
}
