//! The program as a child process: what it prints, the signals that it gets, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::eventually;

/// A running `tollgate`. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    printed: Arc<Mutex<String>>,
    /// Where its configuration is.
    folder: Option<tempfile::TempDir>,
}

impl Process {
    /// Starts `tollgate` with these arguments and nothing in its environment.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(arguments).stdin(Stdio::piped());
        Self::of(command)
    }

    /// Starts a command that becomes a `tollgate`, with nothing in its environment.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let printed = Arc::<Mutex<String>>::default();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        follow(out, printed.clone());
        follow(err, printed.clone());
        Self { child, printed, folder: None }
    }

    /// Starts `tollgate run` over this configuration, and waits until it serves. Returns where, and where its
    /// operators look.
    pub(crate) async fn serve(text: &str) -> (Self, SocketAddr, SocketAddr) {
        Self::serve_by(text, |file| Self::start(&["run", "--config", file])).await
    }

    /// The same with so many file descriptors.
    pub(crate) async fn serve_with_files(text: &str, files: usize) -> (Self, SocketAddr, SocketAddr) {
        Self::serve_after(text, &format!("ulimit -n {files}")).await
    }

    /// The same where the system trusts the authorities in this file and no others.
    pub(crate) async fn serve_trusting(text: &str, authorities: &Path) -> (Self, SocketAddr, SocketAddr) {
        Self::serve_after(text, &format!("export SSL_CERT_FILE={authorities:?}")).await
    }

    /// The same after a line of shell.
    async fn serve_after(text: &str, line: &str) -> (Self, SocketAddr, SocketAddr) {
        let start = |file: &str| {
            let mut command = Command::new("sh");
            let script = format!("{line}; exec \"$0\" run --config \"$1\"");
            command.args(["-c", &script, env!("CARGO_BIN_EXE_tollgate"), file]);
            command.stdin(Stdio::piped());
            Self::of(command)
        };
        Self::serve_by(text, start).await
    }

    /// The same as `start` starts it over a file.
    pub(crate) async fn serve_by(text: &str, start: impl FnOnce(&str) -> Self) -> (Self, SocketAddr, SocketAddr) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, text).unwrap();
        let mut process = start(file.to_str().unwrap());
        process.folder = Some(folder);
        process.says("serving").await;
        let addresses = process.addresses_in("serving");
        (process, addresses[0], addresses[1])
    }

    /// Makes its configuration one that cannot be taken.
    pub(crate) fn spoil(&self) {
        std::fs::write(self.folder.as_ref().unwrap().path().join("gateway.toml"), "no table").unwrap();
    }

    /// What it has printed, on either stream.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has printed this, and the line is complete.
    pub(crate) async fn says(&self, text: &str) {
        eventually(&format!("it says {text:?}"), || self.printed().contains(text)).await;
    }

    /// The addresses in the lines with this text, in order.
    pub(crate) fn addresses_in(&self, text: &str) -> Vec<SocketAddr> {
        let printed = self.printed();
        let lines = printed.lines().filter(|line| line.contains(text));
        let words = lines.flat_map(|line| line.split(|char: char| !(char.is_ascii_digit() || ".:".contains(char))));
        words.filter_map(|word| word.parse().ok()).collect()
    }

    /// Writes a line to its standard input.
    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Ends its standard input.
    pub(crate) fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// The processor time that it has used, in the ticks of Linux, of which a second has a hundred.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Behind the name, which may have spaces: the state is the third field, user and system time the 14th and 15th.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |at: usize| fields[at - 3].parse::<u64>().unwrap();
        Duration::from_millis((ticks(14) + ticks(15)) * 10)
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end, and returns the exit code; none when a signal ended it.
    pub(crate) async fn ends(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().code()
    }
}

/// Sends a signal to a process, by its name without `SIG`.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {process}")).status();
    assert!(sent.unwrap().success());
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(stream: impl Read + Send + 'static, printed: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
            printed.push_str(&line);
            printed.push('\n');
        }
    });
}
