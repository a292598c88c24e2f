//! The examples of commands in a document, run as they stand there: what they print is what the document says.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::read;

/// A document in which every block of commands has what they print, by the configuration that the document shows.
pub(crate) fn with_output(path: &str) -> String {
    let text = read(path);
    let folder = tempfile::tempdir().unwrap();
    let configuration = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    std::fs::write(folder.path().join("gateway.toml"), configuration).unwrap();
    symlink(env!("CARGO_BIN_EXE_tollgate"), folder.path().join("tollgate")).unwrap();
    let mut parts = text.split("```console\n");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (block, rest) = part.split_once("```").unwrap();
        out.push_str("```console\n");
        for command in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
            write!(out, "$ {command}\n{}", run(folder.path(), command)).unwrap();
        }
        write!(out, "```{rest}").unwrap();
    }
    out
}

/// What a command prints, here.
fn run(folder: &Path, command: &str) -> String {
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let configuration = folder.join("gateway.toml");
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env_clear().env("PATH", path).env("TOLLGATE_CONFIG", configuration);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
