//! Who may pass: tokens over real sockets, from all the places and in all the forms that clients and forgers think of.

mod api_keys;
mod files;
mod forgeries;
mod identity;
mod issuers;
mod passwords;
mod rotation;
mod rules;
mod services;
mod several;
mod tls;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::client::Answer;
use crate::support::tokens::{Signer, jwks};
use crate::support::{Backend, Gate, OK, ask, eventually_some};

/// Writes a file as careful people do: whole, then renamed.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("tmp");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// A gateway whose only route asks for tokens, what stands behind it, and the files that it reads.
struct Guarded {
    gate: Gate,
    backend: Backend,
    folder: TempDir,
}

impl Guarded {
    /// Tokens of `signers`, whose keys are in a file; `auth` are further keys of `[auth.main]`, `route` is the value of
    /// the route's `auth`.
    async fn by(signers: &[&Signer], auth: &str, route: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        std::fs::write(&file, jwks(signers)).unwrap();
        Self::with(folder, &format!("jwks_file = {file:?}\n{auth}"), route).await
    }

    /// Tokens as `auth`, the keys of `[auth.main]`, says.
    async fn with(folder: TempDir, auth: &str, route: &str) -> Self {
        let backend = Backend::answering(OK).await;
        let log = folder.path().join("access.log");
        let text = format!("auth = {route}\n[log]\naccess = {log:?}\n[auth.main]\n{auth}\n");
        let gate = Gate::before(&backend, &text);
        Self { gate, backend, folder }
    }

    /// A request with this token as a bearer.
    async fn bearer(&self, token: &str) -> Answer {
        self.ask(&format!("Authorization: Bearer {token}\r\n")).await
    }

    /// A request with these fields, each with its line end.
    async fn ask(&self, fields: &str) -> Answer {
        self.get("/", fields).await
    }

    /// The same to a target.
    async fn get(&self, target: &str, fields: &str) -> Answer {
        ask(self.gate.address(), format!("GET {target} HTTP/1.1\r\nHost: gate\r\n{fields}\r\n")).await
    }

    /// The line of the log for the request with this id, as JSON.
    async fn logged(&self, id: &str) -> serde_json::Value {
        let file = self.file("access.log");
        eventually_some("a line of the log", async || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let line = text.lines().find(|line| line.contains(id))?;
            serde_json::from_str(line).ok()
        })
        .await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How often `[auth.main]` came to this result.
    async fn counted(&self, result: &str) -> u64 {
        let page = self.gate.metrics().await;
        let name = format!("tollgate_auth_total{{auth=\"main\",result=\"{result}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or_default()
    }
}
