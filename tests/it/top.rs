//! `tollgate top` from outside: the table for scripts, and the screen on a terminal that is left as it was.

use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::program::{Missing, program};
use crate::support::{Backend, Gate, OK, eventually, get};

fn once(admin: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["top", "--once", "--admin", admin]).args(more).env_clear().output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_gets_one_table() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    assert_eq!(get(gate.address(), "/").await.status(), 200);
    let admin = format!("http://{}", gate.admin());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let routes = once(&admin, &[]);
    assert_eq!((routes.status.code(), text(&routes.stderr)), (Some(0), String::new()));
    assert!(text(&routes.stdout).starts_with("ROUTE  REQ/S"), "{}", text(&routes.stdout));
    assert_eq!(text(&routes.stdout).lines().nth(1).unwrap().split_whitespace().next(), Some("app"));
    let addresses = text(&once(&admin, &["--view", "addresses"]).stdout);
    let words: Vec<&str> = addresses.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[..3], ["app", &backend.address().to_string(), "healthy"]);
    drop(gate);
    let nobody = once(&admin, &[]);
    assert_eq!((nobody.status.code(), text(&nobody.stdout)), (Some(1), String::new()));
    assert!(text(&nobody.stderr).starts_with("error: cannot connect to "), "{}", text(&nobody.stderr));
    // What is no terminal gets no screen.
    let piped = Command::new(env!("CARGO_BIN_EXE_tollgate")).args(["top", "--admin", &admin]).output().unwrap();
    assert_eq!((piped.status.code(), text(&piped.stdout)), (Some(1), String::new()));
}

/// `tollgate top` on a terminal.
struct Screen {
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    fn start(admin: &str, script: &std::path::Path) -> Self {
        let run = format!(
            "stty rows 24 cols 120; exec '{}' top --view addresses --admin {admin}",
            env!("CARGO_BIN_EXE_tollgate")
        );
        let mut command = Command::new(script);
        command.args(["-q", "-e", "-c", &run, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (shown, mut out) = (Arc::<Mutex<Vec<u8>>>::default(), child.stdout.take().unwrap());
        let told = shown.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut piece) {
                told.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Self { child, shown }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until this has been drawn so many times.
    async fn shows(&self, text: &str, times: usize) {
        eventually(&format!("{text:?} {times} times"), || self.text().matches(text).count() >= times).await;
    }

    fn type_in(&mut self, keys: &str) {
        let mut keyboard = self.child.stdin.as_ref().unwrap();
        keyboard.write_all(keys.as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_screen_comes_back_with_the_gateway_and_leaves_the_terminal_as_it_was() {
    let Some(script) = program("script", &Missing::SCRIPT) else { return };
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let place = gate.admin();
    let mut screen = Screen::start(&format!("http://{place}"), &script);
    screen.shows("live,", 1).await;
    screen.shows(&backend.address().to_string(), 1).await;
    screen.type_in("3");
    screen.shows("LIMIT", 1).await;
    drop(gate);
    screen.shows("trying", 1).await;
    let _back = Gate::before(&backend, &format!("[admin]\nlisten = \"{place}\"\n"));
    screen.shows("live,", 2).await;
    screen.type_in("q");
    eventually("it ends", || screen.text().contains("\u{1b}[?1049l")).await;
    let (shown, ended) = (screen.text(), screen.child.wait().unwrap());
    assert_eq!(ended.code(), Some(0), "{shown}");
    assert_eq!((shown.matches("\u{1b}[?1049h").count(), shown.matches("\u{1b}[?1049l").count()), (1, 1), "{shown:?}");
}
