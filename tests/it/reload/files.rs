//! Configurations from files: how a change is noticed however it is made, what operators are answered, and that a file
//! with a mistake in it changes nothing but the log.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use tollgate::reload::watch::Pace;

use super::status;
use crate::support::{Backend, Gate, OK, ask, eventually_async, get};

/// The system's notices alone: no poll comes to their help.
fn notices() -> Pace {
    Pace { notices: true, settle: Duration::from_millis(20), poll: Duration::from_secs(3600) }
}

/// No notices at all.
fn poll() -> Pace {
    Pace { notices: false, settle: Duration::from_millis(20), poll: Duration::from_millis(30) }
}

/// A configuration with one route of this name.
fn text(backend: &Backend, name: &str) -> String {
    let address = backend.address();
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n\
         [upstreams.app]\naddresses = [\"{address}\"]\n[[routes]]\nname = \"{name}\"\nprefix = \"/\"\nupstream = \"app\"\n"
    )
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
}

/// Puts a new file in the place of the old one, as editors do.
fn replace(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, file).unwrap();
}

async fn has_routes(gate: &Gate, names: &[&str]) {
    let what = format!("the routes are {names:?}");
    eventually_async(&what, async || status(gate).await["routes"] == serde_json::json!(names)).await;
}

async fn is_noticed(pace: Pace) {
    let backend = Backend::answering(OK).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    write(&file, &text(&backend, "one"));
    let gate = Gate::from_file(&file, pace);
    has_routes(&gate, &["one"]).await;
    write(&file, &text(&backend, "two"));
    has_routes(&gate, &["two"]).await;
    for name in ["three", "four", "five"] {
        replace(&file, &text(&backend, name));
        has_routes(&gate, &[name]).await;
    }
    let conf_d = folder.path().join("conf.d");
    fs::create_dir(&conf_d).unwrap();
    let more = conf_d.join("more.toml");
    write(&more, "[[routes]]\nname = \"more\"\nprefix = \"/more\"\nupstream = \"app\"\n");
    has_routes(&gate, &["five", "more"]).await;
    fs::remove_file(&more).unwrap();
    has_routes(&gate, &["five"]).await;
    let seen = status(&gate).await;
    assert_eq!((&seen["last_reload"]["trigger"], &seen["last_reload"]["result"]), (&"file".into(), &"ok".into()));
    // A change in the middle of a reload is followed by another one, which finds nothing.
    let mut names = vec!["five".to_owned()];
    eventually_async("the last reload says what has gone", async || {
        let (old, new) = (names.last().unwrap().clone(), format!("five-{}", names.len()));
        replace(&file, &text(&backend, &new));
        has_routes(&gate, &[&new]).await;
        names.push(new);
        status(&gate).await["last_reload"]["routes"]["removed"] == serde_json::json!([old])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_are_noticed() {
    is_noticed(notices()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_noticed_without_the_help_of_the_system() {
    is_noticed(poll()).await;
}

/// What Kubernetes does with a `ConfigMap`: the folder has links to `..data/NAME`, `..data` is a link to a folder with a
/// time in its name, and a new version is another such folder, to which the link is turned in one step.
#[tokio::test(flavor = "multi_thread")]
async fn a_turned_link_is_noticed() {
    let backend = Backend::answering(OK).await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let publish = |version: &str, name: &str| {
        fs::create_dir(at(version)).unwrap();
        write(&at(version).join("gateway.toml"), &text(&backend, name));
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    publish("..1", "one");
    symlink("..data/gateway.toml", at("gateway.toml")).unwrap();
    let gate = Gate::from_file(&at("gateway.toml"), notices());
    has_routes(&gate, &["one"]).await;
    for (version, old, name) in [("..2", "..1", "two"), ("..3", "..2", "three"), ("..4", "..3", "four")] {
        publish(version, name);
        fs::remove_dir_all(at(old)).unwrap();
        has_routes(&gate, &[name]).await;
    }
}

/// A file that a link leads to in another folder, replaced there.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_elsewhere_is_noticed() {
    let backend = Backend::answering(OK).await;
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (link, file) = (here.path().join("gateway.toml"), there.path().join("real.toml"));
    write(&file, &text(&backend, "one"));
    symlink(&file, &link).unwrap();
    let gate = Gate::from_file(&link, notices());
    for name in ["two", "three"] {
        replace(&file, &text(&backend, name));
        has_routes(&gate, &[name]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_mistake_changes_nothing_and_is_told_of() {
    let backend = Backend::answering(OK).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    write(&file, &text(&backend, "one"));
    let gate = Gate::from_file(&file, Pace { notices: false, poll: Duration::from_secs(3600), ..Pace::default() });
    let post = "POST /api/v1/reload HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    let answer = ask(gate.admin(), post).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    write(&file, &text(&backend, "two").replace("upstream = \"app\"", "upstream = \"ap\"\nmax_boby = \"1KiB\""));
    let answer = ask(gate.admin(), post).await;
    assert_eq!(answer.status(), 422, "{answer:?}");
    let told: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!((&told["result"], &told["trigger"]), (&"failed".into(), &"api".into()), "{told}");
    let problems = told["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{told}");
    let unknown =
        problems.iter().find(|problem| problem["key"] == "routes[0].max_boby").unwrap_or_else(|| panic!("{told}"));
    assert!(unknown["help"].as_str().unwrap().contains("max_body"), "{told}");
    assert!(unknown["place"].as_str().unwrap().ends_with("gateway.toml:13:1"), "{told}");
    assert_eq!(get(gate.address(), "/").await.status(), 200, "the old one runs on");
    let seen = status(&gate).await;
    assert_eq!((&seen["routes"], &seen["last_reload"]["result"]), (&serde_json::json!(["one"]), &"failed".into()));
    gate.counted("tollgate_config_reloads_total{result=\"failed\"} 1").await;
    fs::remove_file(&file).unwrap();
    let answer = ask(gate.admin(), post).await;
    assert_eq!(answer.status(), 422, "{answer:?}");
    assert!(answer.text().contains("cannot read"), "{answer:?}");
    write(&file, &text(&backend, "two"));
    let told: serde_json::Value = serde_json::from_str(&ask(gate.admin(), post).await.text()).unwrap();
    assert_eq!(told["routes"], serde_json::json!({ "added": ["two"], "removed": ["one"] }), "{told}");
    gate.counted("tollgate_config_reloads_total{result=\"failed\"} 2").await;
    gate.counted("tollgate_config_reloads_total{result=\"ok\"} 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_and_changes_with_its_file() {
    let backend = Backend::answering(OK).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("gateway.toml"), folder.path().join("token"));
    write(&token, "hunter-one\n");
    write(&file, &text(&backend, "one").replace("[admin]\n", "[admin]\ntoken = \"file:token\"\n"));
    let gate = Gate::from_file(&file, notices());
    let reload = async |token: &str| {
        let request = format!(
            "POST /api/v1/reload HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
        );
        ask(gate.admin(), request).await
    };
    assert_eq!(ask(gate.admin(), "POST /api/v1/reload HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), 401);
    assert_eq!(reload("hunter-two").await.status(), 401);
    assert_eq!(reload("hunter-one").await.status(), 200);
    assert_eq!(get(gate.admin(), "/api/v1/reload").await.status(), 405);
    replace(&token, "hunter-two\n");
    eventually_async("the new token counts", async || reload("hunter-two").await.status() == 200).await;
    assert_eq!(reload("hunter-one").await.status(), 401);
    let seen = get(gate.admin(), "/api/v1/status").await.text();
    assert!(!seen.contains("hunter"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_files_there_is_nothing_to_read_again() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "");
    let answer = ask(gate.admin(), "POST /api/v1/reload HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(answer.status(), 422);
    assert!(answer.text().contains("not started from files"), "{answer:?}");
    assert_eq!(get(gate.address(), "/").await.status(), 200);
}
