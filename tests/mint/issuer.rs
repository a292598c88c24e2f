//! `mint-token serve` as a process: what it publishes, what it gives, and what signals do to its keys.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::{err, key, mint, minted, part, text};

/// A running issuer. Dropping it kills it.
pub(crate) struct Issuer {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Issuer {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mint-token"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut issuer = Self { child, lines, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        issuer.address = issuer.says("listens on").split_whitespace().last().unwrap().parse().unwrap();
        issuer.says("signs with");
        issuer
    }

    /// Reads until it says this, and returns the line.
    fn says(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it ended before it said {text:?}");
            if line.contains(text) {
                return line.trim_end().to_owned();
            }
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.unwrap().success());
    }

    /// Head and body of an answer.
    fn ask(&self, request: &str) -> (String, Value) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn get(&self, path: &str) -> (String, Value) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
    }

    fn post(&self, kind: &str, body: &str) -> (String, Value) {
        let length = body.len();
        self.ask(&format!(
            "POST /token HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    /// The names of the published keys.
    fn kids(&self) -> Vec<String> {
        let set = self.get("/.well-known/jwks.json").1;
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    /// A token of its own, and the name of the key that signed it.
    pub(crate) fn token(&self) -> (String, String) {
        let answer = self.post("application/x-www-form-urlencoded", "sub=alice").1;
        let token = answer["access_token"].as_str().unwrap().to_owned();
        let kid = part(&token, 0)["kid"].as_str().unwrap().to_owned();
        (token, kid)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_says_who_it_is_and_gives_tokens_to_whoever_asks() {
    let (folder, key) = key("ES256");
    let issuer = Issuer::start(&["--key", &key]);
    let (head, discovery) = issuer.get("/.well-known/openid-configuration");
    assert!(head.contains("cache-control: public, max-age=60"), "{head}");
    let own = format!("http://{}", issuer.address);
    assert_eq!(discovery["issuer"], own);
    assert_eq!(discovery["jwks_uri"], format!("{own}/.well-known/jwks.json"));
    let (head, set) = issuer.get("/.well-known/jwks.json");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("cache-control: public, max-age=60"), "{head}");
    let written: Value = serde_json::from_slice(&fs::read(folder.path().join("jwks.json")).unwrap()).unwrap();
    assert_eq!(set, written, "what keygen wrote beside the key");

    let form = "sub=alice&aud=orders&aud=billing&scope=read+write&expires_in=60&claim=tenant%3Dacme&claim=n%3D%7B%22a%22%3A1%7D";
    let (head, answer) = issuer.post("application/x-www-form-urlencoded", form);
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("cache-control: no-store"), "{head}");
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&"Bearer".into(), &60.into()));
    let claims = part(answer["access_token"].as_str().unwrap(), 1);
    assert_eq!(
        (&claims["iss"], &claims["sub"], &claims["scope"]),
        (&own.into(), &"alice".into(), &"read write".into())
    );
    assert_eq!(
        (&claims["aud"][1], &claims["tenant"], &claims["n"]["a"]),
        (&"billing".into(), &"acme".into(), &1.into())
    );
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);

    let (_, answer) =
        issuer.post("application/json; charset=utf-8", r#"{"sub":"bob","claims":{"roles":["a"]},"aud":["x"]}"#);
    let claims = part(answer["access_token"].as_str().unwrap(), 1);
    assert_eq!((&claims["sub"], &claims["roles"][0], &claims["aud"]), (&"bob".into(), &"a".into(), &"x".into()));
    for (kind, body) in [
        ("application/x-www-form-urlencoded", "sbu=alice"),
        ("application/x-www-form-urlencoded", "grant_type=password"),
        ("application/x-www-form-urlencoded", "expires_in=soon"),
        ("application/x-www-form-urlencoded", "claims=%7B"),
        ("application/json", "{"),
        ("application/json", "[]"),
        ("application/json", r#"{"sub":1}"#),
        ("text/plain", "sub=alice"),
    ] {
        let (head, answer) = issuer.post(kind, body);
        assert!(head.starts_with("HTTP/1.1 400 "), "{body}: {head}");
        assert_eq!(answer["error"], "invalid_request", "{body}");
    }
}

#[test]
fn signals_rotate_the_keys_and_the_old_one_stays_published() {
    let (folder, file) = key("ES256");
    let mut issuer = Issuer::start(&["--key", &file]);
    let (_, first) = issuer.token();
    issuer.signal("USR1");
    let said = issuer.says("signs with a new key");
    let (_, second) = issuer.token();
    assert!(first != second && said.ends_with(&second), "{said}");
    assert_eq!(issuer.kids(), [second.clone(), first.clone()]);

    minted(&["keygen", "--out", text(folder.path()), "--force"]);
    issuer.signal("HUP");
    issuer.says("signs with a new key");
    let (_, third) = issuer.token();
    assert_eq!(issuer.kids(), [third.clone(), second.clone(), first.clone()]);

    issuer.signal("HUP");
    issuer.says("the same key as before");
    fs::write(&file, "no key").unwrap();
    issuer.signal("HUP");
    issuer.says("the same key as before");
    assert_eq!(issuer.token().1, third, "a file that cannot be read changes nothing");
    assert_eq!(issuer.kids(), [third, second, first]);
    issuer.signal("TERM");
    assert_eq!(issuer.child.wait().unwrap().code(), Some(0));
}

#[test]
fn without_keep_an_old_key_goes_at_once() {
    let mut issuer =
        Issuer::start(&["--alg", "EdDSA", "--keep", "0s", "--max-age", "5min", "--iss", "https://me.example/"]);
    let (head, discovery) = issuer.get("/.well-known/openid-configuration");
    assert!(head.contains("max-age=300"), "{head}");
    assert_eq!(discovery["jwks_uri"], "https://me.example/.well-known/jwks.json");
    let first = issuer.kids();
    issuer.signal("USR1");
    issuer.says("signs with a new key");
    let second = issuer.kids();
    assert_eq!(second.len(), 1);
    assert_ne!(first, second);
}

#[test]
fn what_cannot_be_served_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = mint(&["serve", "--listen", &address]);
    assert_eq!(output.status.code(), Some(3));
    assert!(err(&output).contains(&address), "{}", err(&output));
    let output = mint(&["serve", "--alg", "HS256", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("secret"), "{}", err(&output));
}
