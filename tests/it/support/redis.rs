//! Real redis-servers on free ports, with folders of their own. They end with the value. A test without the program says
//! so and passes; where CI is set that is a failure.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Connection, ConnectionLike, Value};
use tempfile::TempDir;

use super::process::signal;

/// A running redis-server.
pub(crate) struct Redis {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    /// How tests talk to it: what stands before the host in a URL, and behind it.
    url: (String, String),
    folder: TempDir,
}

impl Redis {
    /// Starts one with further arguments; none if the program is not here.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        Self::start_as(("redis://", ""), arguments)
    }

    /// The same for one that wants to be addressed in another way.
    pub(crate) fn start_as(url: (&str, &str), arguments: &[&str]) -> Option<Self> {
        if !is_here("redis-server") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let port = free_port();
        let child = spawn(port, folder.path(), &arguments);
        let server = Self { child, port, arguments, url: (url.0.to_owned(), url.1.to_owned()), folder };
        server.answers();
        Some(server)
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("{}127.0.0.1:{}{}", self.url.0, self.port, self.url.1)
    }

    /// The lines that configure a gateway to use it.
    pub(crate) fn table(&self) -> String {
        format!("[redis]\nurl = \"{}\"\n", self.url())
    }

    /// Does something to it, as an operator would.
    pub(crate) fn order(&self, words: &[&str]) -> Value {
        self.try_order(words).unwrap()
    }

    fn try_order(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        self.connect()?.req_command(&command)
    }

    fn connect(&self) -> redis::RedisResult<Connection> {
        redis::Client::open(format!("redis://127.0.0.1:{}/", self.port))?
            .get_connection_with_timeout(Duration::from_secs(1))
    }

    /// Stands still, and goes on.
    pub(crate) fn pause(&self) {
        signal(self.child.id(), "STOP");
    }

    /// Goes on after a pause.
    pub(crate) fn resume(&self) {
        signal(self.child.id(), "CONT");
    }

    /// Ends at once, and forgets everything.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Comes back on the same port after it was killed.
    pub(crate) fn come_back(&mut self) {
        self.child = spawn(self.port, self.folder.path(), &self.arguments);
        self.answers();
    }

    /// Waits until it answers, whatever it says.
    fn answers(&self) {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port))) {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < until, "redis-server does not come up: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Whether the program is installed.
#[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
pub(crate) fn is_here(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", program]).status().unwrap().success();
    let ci = std::env::vars().any(|(name, value)| name == "CI" && value == "true");
    assert!(found || !ci, "{program} is not installed");
    if !found {
        println!("SKIPPED: {program} is not installed");
    }
    found
}

fn spawn(port: u16, folder: &std::path::Path, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    let port = port.to_string();
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
    command.arg("--dir").arg(folder).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
