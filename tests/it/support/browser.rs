//! A real browser, Debian's Chromium, driven over WebDriver (W3C): what it shows, what it complains of, what a keyboard
//! does. It ends with the value. A test without the programs says so and passes; where CI is set that is a failure.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ask, eventually_async};

const BROWSER: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";
/// No window, no services of its own, no sandbox, which root cannot have.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--window-size=1280,900",
];

/// A browser with one page.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// Closed, it would end the driver.
    _said: BufReader<ChildStdout>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; none if the programs are not here.
    #[allow(clippy::print_stdout, reason = "whoever runs the tests has to know")]
    pub(crate) async fn start() -> Option<Self> {
        let missing = [BROWSER, DRIVER].into_iter().find(|program| !std::path::Path::new(program).exists());
        if let Some(program) = missing {
            let ci = std::env::vars().any(|(name, value)| name == "CI" && value == "true");
            assert!(!ci, "{program} is not installed");
            println!("SKIPPED: {program} is not installed, so nobody can look at the page");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let (driver, _said, address) = drive(profile.path());
        let folder = format!("--user-data-dir={}", profile.path().display());
        let flags: Vec<&str> = FLAGS.iter().copied().chain([folder.as_str()]).collect();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"binary": BROWSER, "args": flags},
        }}});
        let mut browser = Self { driver, address, session: String::new(), _said, _profile: profile };
        let begun = browser.order("POST", "/session", &wanted).await;
        browser.session = format!("/session/{}", begun["sessionId"].as_str().unwrap());
        Some(browser)
    }

    /// Opens a page, and waits until it is loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.tell("/url", &json!({"url": url})).await;
    }

    /// What the body of a function returns in the page.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.tell("/execute/sync", &json!({"script": script, "args": []})).await
    }

    /// Waits until this expression is true in the page.
    pub(crate) async fn shows(&self, expression: &str) {
        let script = format!("return Boolean({expression});");
        eventually_async(expression, async || self.run(&script).await == true).await;
    }

    /// What the console has been told since the last call: errors, warnings, violations of the page's policy.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let entries = self.tell("/se/log", &json!({"type": "browser"})).await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| format!("{}: {}", entry["level"], entry["message"])).collect()
    }

    /// A window of this width, as a phone has it where it is narrow.
    pub(crate) async fn resize(&self, width: u32) {
        let size = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500});
        self.command("Emulation.setDeviceMetricsOverride", &size).await;
    }

    /// The colours that the reader likes: `light` or `dark`.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let liked = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.command("Emulation.setEmulatedMedia", &liked).await;
    }

    /// Presses these keys one after the other, as WebDriver spells them.
    pub(crate) async fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()})))
            .collect();
        self.tell("/actions", &json!({"actions": [{"type": "key", "id": "keys", "actions": strokes}]})).await;
    }

    /// Clicks the first element that this selector finds, where a finger would.
    pub(crate) async fn click(&self, selector: &str) {
        let found = self.tell("/element", &json!({"using": "css selector", "value": selector})).await;
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.tell(&format!("/element/{id}/click"), &json!({})).await;
    }

    async fn command(&self, command: &str, parameters: &Value) {
        self.tell("/goog/cdp/execute", &json!({"cmd": command, "params": parameters})).await;
    }

    async fn tell(&self, path: &str, body: &Value) -> Value {
        self.order("POST", &format!("{}{path}", self.session), body).await
    }

    async fn order(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n", self.address);
        let answer = ask(self.address, format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await;
        let told: Value = serde_json::from_slice(&answer.content.bytes).unwrap();
        assert_eq!(answer.status(), 200, "{path} {body}: {told}");
        told["value"].clone()
    }

    /// Ends the browser; whoever killed the driver alone would leave it running.
    fn quit(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "DELETE {} HTTP/1.1\r\nHost: {}\r\n\r\n", self.session, self.address)?;
        stream.read(&mut [0; 64]).map(drop)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.quit();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Starts the driver on a port that it finds by itself. It wants the same one for both families, which somebody may have
/// for the second: then it gives up, and is started again.
fn drive(folder: &std::path::Path) -> (Child, BufReader<ChildStdout>, SocketAddr) {
    let mut tries = (0..5).filter_map(|_| try_to_drive(folder));
    tries.next().expect("the driver says its port")
}

fn try_to_drive(folder: &std::path::Path) -> Option<(Child, BufReader<ChildStdout>, SocketAddr)> {
    let mut command = Command::new(DRIVER);
    command.arg("--port=0").env("HOME", folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut driver = command.spawn().unwrap();
    let mut said = BufReader::new(driver.stdout.take().unwrap());
    let lines = said.by_ref().lines().map_while(Result::ok);
    let port =
        lines.filter_map(|line| line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()).next();
    let Some(port) = port else {
        let _ = driver.kill();
        let _ = driver.wait();
        return None;
    };
    Some((driver, said, SocketAddr::from(([127, 0, 0, 1], port))))
}
