//! Purges: by URL, prefix and tag, hard and soft, by those who may, over HTTP and from the command line.

use std::process::{Command, Output};

use super::{gate, replying, response, status};
use crate::support::client::Answer;
use crate::support::{Backend, Gate, ask, get};

/// A backend whose every response has two tags: its first path segment, and `all`.
async fn tagged() -> Backend {
    replying(|seen, number| {
        let tag = seen.head.target().split(['/', '?']).nth(1).unwrap_or_default().to_owned();
        match seen.head.has("if-none-match") {
            true => "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned(),
            false => {
                let fields = format!("cache-control: max-age=60\r\netag: \"x\"\r\nsurrogate-key: {tag} all\r\n");
                response(&fields, &number.to_string())
            }
        }
    })
    .await
}

async fn order(gate: &Gate, fields: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!(
        "POST /api/v1/cache/purge HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}"
    );
    ask(gate.admin(), format!("{head}\r\n{fields}\r\n{body}")).await
}

async fn all(gate: &Gate) -> String {
    let mut all = Vec::new();
    for target in ["/a", "/a/b?c", "/ab", "/d"] {
        all.push(get(gate.address(), target).await.text());
    }
    all.join(" ")
}

#[tokio::test]
async fn what_is_named_goes_and_everything_else_stays() {
    for (body, purged, after) in [
        (r#"{"url":"http://gate/a"}"#, 1, "5 2 3 4"),
        (r#"{"url":"/a/b?c"}"#, 1, "1 5 3 4"),
        (r#"{"url":"/a/b"}"#, 0, "1 2 3 4"),
        (r#"{"url":"http://other/a"}"#, 0, "1 2 3 4"),
        (r#"{"prefix":"/a"}"#, 2, "5 6 3 4"),
        (r#"{"prefix":"http://gate/"}"#, 4, "5 6 7 8"),
        (r#"{"tag":"a"}"#, 2, "5 6 3 4"),
        (r#"{"tag":"all"}"#, 4, "5 6 7 8"),
        (r#"{"all":true}"#, 4, "5 6 7 8"),
    ] {
        let backend = tagged().await;
        let gate = gate(&backend, "true");
        assert_eq!(all(&gate).await, "1 2 3 4");
        let answer = order(&gate, "", body).await;
        assert_eq!((answer.status(), answer.text()), (200, format!("{{\"purged\":{purged}}}")), "{body}");
        assert_eq!(all(&gate).await, after, "{body}");
    }
}

#[tokio::test]
async fn a_soft_purge_only_has_it_asked_for_anew() {
    let backend = tagged().await;
    let gate = gate(&backend, "true");
    assert_eq!(all(&gate).await, "1 2 3 4");
    assert_eq!(order(&gate, "", r#"{"tag":"d","soft":true}"#).await.status(), 200);
    let asked = get(gate.address(), "/d").await;
    assert_eq!((asked.text(), status(&asked)), ("4".into(), "tollgate; fwd=stale; fwd-status=304; stored".into()));
    assert_eq!(status(&get(gate.address(), "/d").await), "tollgate; hit");
}

#[tokio::test]
async fn only_those_who_may_purge_and_only_what_makes_sense() {
    let backend = tagged().await;
    let gate = Gate::before(&backend, "cache = true\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"hunter2-hunter2\"\n");
    get(gate.address(), "/a").await;
    assert_eq!(order(&gate, "", r#"{"all":true}"#).await.refusal().0, 401);
    assert_eq!(order(&gate, "Authorization: Bearer wrong\r\n", r#"{"all":true}"#).await.refusal().0, 401);
    let token = "Authorization: Bearer hunter2-hunter2\r\n";
    for body in ["{}", "", "[]", r#"{"all":true,"url":"/"}"#, r#"{"tags":"a"}"#, r#"{"url":"a"}"#] {
        assert_eq!(order(&gate, token, body).await.refusal(), (400, "bad_order".into()), "{body}");
    }
    assert_eq!(order(&gate, token, r#"{"all":true}"#).await.text(), r#"{"purged":1}"#);
    let without = Gate::before(&backend, "");
    assert_eq!(order(&without, "", r#"{"all":true}"#).await.refusal(), (404, "no_cache".into()));
}

/// Runs `tollgate purge` with these arguments, and this token in its environment.
fn command(gate: &Gate, arguments: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("purge").args(arguments).arg("--admin").arg(format!("http://{}", gate.admin())).env_clear();
    if let Some(token) = token {
        command.env("TOLLGATE_ADMIN_TOKEN", token);
    }
    command.output().unwrap()
}

#[tokio::test]
async fn the_command_does_the_same() {
    let backend = tagged().await;
    let gate = Gate::before(&backend, "cache = true\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"hunter2-hunter2\"\n");
    assert_eq!(all(&gate).await, "1 2 3 4");
    let token = Some("hunter2-hunter2");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let purged = command(&gate, &["--prefix", "/a"], token);
    assert_eq!(
        (purged.status.code(), text(&purged.stdout)),
        (Some(0), "2 purged\n".into()),
        "{}",
        text(&purged.stderr)
    );
    let softly = command(&gate, &["--tag", "all", "--soft"], token);
    assert_eq!((softly.status.code(), text(&softly.stdout)), (Some(0), "2 stale now\n".into()));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2-hunter2\n").unwrap();
    let by_file = command(&gate, &["--all", "--token-file", file.path().to_str().unwrap()], Some("wrong"));
    assert_eq!((by_file.status.code(), text(&by_file.stdout)), (Some(0), "2 purged\n".into()));
    let refused = command(&gate, &["--all"], None);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("401"), "{}", text(&refused.stderr));
    assert_eq!(command(&gate, &["--url", "nonsense"], token).status.code(), Some(1));
    assert_eq!(command(&gate, &[], token).status.code(), Some(2));
    assert_eq!(command(&gate, &["--all", "--tag", "a"], token).status.code(), Some(2));
}
