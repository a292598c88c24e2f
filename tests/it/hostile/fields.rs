//! Header fields: hosts, names, values, what Connection may take away, and how many there may be.

use super::{Case, Must, gateway, get, judge, refuse};
use crate::support::raw::{Heard, Recorder, responses, talk};

macro_rules! with {
    ($fields:literal) => {
        concat!("GET /x HTTP/1.1\r\n", $fields, "\r\n\r\n").as_bytes()
    };
}

const HOSTS: &[Case] = &[
    get("a host with a port", with!("Host: a:8080"), "/x"),
    get("a host with a final dot", with!("Host: a."), "/x"),
    get("a host with an underscore", with!("Host: my_app"), "/x"),
    get("an address", with!("Host: [::1]:80"), "/x"),
    refuse("no host", b"GET /x HTTP/1.1\r\nAccept: */*\r\n\r\n"),
    refuse("no host with an absolute target", b"GET http://a/x HTTP/1.1\r\nAccept: */*\r\n\r\n"),
    refuse("two hosts", with!("Host: a\r\nHost: b")),
    refuse("a host twice", with!("Host: a\r\nHost: a")),
    refuse("an empty host", with!("Host:")),
    refuse("a host of spaces", with!("Host:   ")),
    refuse("a space in a host", with!("Host: a b")),
    refuse("a tab in a host", with!("Host: a\tb")),
    refuse("a slash in a host", with!("Host: a/b")),
    refuse("a question mark in a host", with!("Host: a?b")),
    refuse("a hash in a host", with!("Host: a#b")),
    refuse("an at sign in a host", with!("Host: user@a")),
    refuse("a comma in a host", with!("Host: a, b")),
    refuse("a backslash in a host", with!("Host: a\\b")),
    refuse("an escape in a host", with!("Host: a%2eb")),
    refuse("a quoted host", with!("Host: \"a\"")),
    refuse("a scheme in a host", with!("Host: http://a")),
    refuse("a host beyond ASCII", with!("Host: bücher")),
    refuse("a host that is a dot", with!("Host: .")),
    refuse("a port over 16 bits", with!("Host: a:99999")),
    refuse("an empty port", with!("Host: a:")),
    refuse("a port that is a word", with!("Host: a:http")),
    refuse("a port with a plus", with!("Host: a:+80")),
    refuse("two ports", with!("Host: a:80:81")),
    refuse("a port alone", with!("Host: :80")),
    refuse("half a bracket", with!("Host: [::1")),
    refuse("a bracket with a word", with!("Host: [a]")),
    refuse("a bracket with something behind", with!("Host: [::1]x")),
    refuse("a zone in a bracket", with!("Host: [fe80::1%25eth0]")),
    refuse("a folded host", with!("Host: a\r\n b")),
    refuse("a space before a host's colon", with!("Host : a")),
    refuse("a bare CR in a host", with!("Host: a\rb")),
    refuse("a NUL in a host", with!("Host: a\0")),
];

const FIELDS: &[Case] = &[
    get("a value beyond ASCII", b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: \xff\xfe\r\n\r\n", "/x"),
    get("a tab in a value", with!("Host: a\r\nX-A: b\tc"), "/x"),
    get("an empty value", with!("Host: a\r\nX-A:"), "/x"),
    get(
        "h2c",
        with!("Host: a\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
        "/x",
    ),
    get("an upgrade that Connection does not name", with!("Host: a\r\nUpgrade: websocket"), "/x"),
    get("Connection names an upgrade that is not there", with!("Host: a\r\nConnection: upgrade"), "/x"),
    get("two upgrades", with!("Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c"), "/x"),
    get("a list of upgrades", with!("Host: a\r\nConnection: upgrade\r\nUpgrade: websocket, h2c"), "/x"),
    get("another expectation", with!("Host: a\r\nExpect: 200-ok"), "/x"),
    get("an expectation without a body", with!("Host: a\r\nExpect: 100-continue"), "/x"),
    refuse("a folded field", with!("Host: a\r\nX-A: b\r\n c")),
    refuse("a field that is folded with a tab", with!("Host: a\r\nX-A: b\r\n\tc")),
    refuse("a fold before all fields", with!(" X-A: b\r\nHost: a")),
    refuse("a space before a colon", with!("Host: a\r\nX-A : b")),
    refuse("no name", with!("Host: a\r\n: b")),
    refuse("no colon", with!("Host: a\r\nX-A")),
    refuse("a space in a name", with!("Host: a\r\nX A: b")),
    refuse("a separator in a name", with!("Host: a\r\nX(A): b")),
    refuse("a slash in a name", with!("Host: a\r\nX/A: b")),
    refuse("a NUL in a name", with!("Host: a\r\nX\0A: b")),
    refuse("a name beyond ASCII", with!("Host: a\r\nX-É: b")),
    refuse("a bare CR in a name", with!("Host: a\r\nX\rA: b")),
    refuse("a NUL in a value", with!("Host: a\r\nX-A: b\0c")),
    refuse("a bell in a value", with!("Host: a\r\nX-A: b\x07c")),
    refuse("a DEL in a value", with!("Host: a\r\nX-A: b\x7fc")),
    refuse("a bare CR in a value", with!("Host: a\r\nX-A: b\rc")),
    refuse("an escape character in a value", with!("Host: a\r\nX-A: \x1b[31m")),
];

#[test]
fn a_request_has_one_sound_host() {
    judge(HOSTS.iter().map(Case::copy));
}

#[test]
fn fields_are_read_strictly() {
    judge(FIELDS.iter().map(Case::copy));
}

#[test]
fn heads_over_the_limits_are_refused_with_a_problem() {
    let head = |fields: String| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    let flood = |name, fields| Case { name, raw: head(fields).into(), must: Must::Refuse(&[431]) };
    judge([
        flood("101 fields", "X-A: b\r\n".repeat(100)),
        flood("1,000 fields", "X-A: b\r\n".repeat(1000)),
        flood("a value of 70 KiB", format!("X-A: {}\r\n", "b".repeat(70 * 1024))),
        flood("a value of 300 KiB", format!("X-A: {}\r\n", "b".repeat(300 * 1024))),
        flood("a name of 70 KiB", format!("{}: b\r\n", "X".repeat(70 * 1024))),
    ]);
}

/// What the backend hears of a request with these fields.
fn heard(fields: &str) -> Heard {
    let backend = Recorder::start();
    let gate = gateway(&backend);
    let raw = format!("GET /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    let got = responses(&talk(gate.address(), raw.as_bytes(), 1), false).unwrap();
    assert_eq!(got.iter().map(|got| got.status).collect::<Vec<_>>(), [200], "{fields}");
    let carried = backend.take();
    assert_eq!(carried.len(), 1);
    carried[0].request.clone().unwrap()
}

#[test]
fn connection_takes_away_what_it_names_but_nothing_that_is_vouched_for() {
    let request = heard(
        "Authorization: secret\r\nX-A: b\r\nX-B: c\r\nX-Forwarded-For: 6.6.6.6\r\n\
         Connection: close, x-a, host, x-forwarded-for\r\nConnection: X-B, authorization, content-length",
    );
    assert_eq!(request.all("host"), ["a"]);
    assert_eq!(request.all("authorization"), ["secret"]);
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    for gone in ["x-a", "x-b", "connection"] {
        assert!(request.all(gone).is_empty(), "{gone}");
    }
}

#[test]
fn only_a_clean_upgrade_is_passed_on() {
    for fields in [
        "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
        "Upgrade: websocket",
        "Connection: upgrade",
        "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket",
        "Connection: upgrade\r\nUpgrade: websocket, h2c",
    ] {
        let request = heard(fields);
        for gone in ["connection", "upgrade", "http2-settings"] {
            assert!(request.all(gone).is_empty(), "{fields}: {gone}");
        }
    }
    let request = heard("Connection: Upgrade\r\nUpgrade: websocket");
    assert_eq!((request.all("connection"), request.all("upgrade")), (vec!["upgrade".into()], vec!["websocket".into()]));
}

#[test]
fn an_absolute_target_decides_the_host() {
    let backend = Recorder::start();
    let gate = gateway(&backend);
    let raw = b"GET http://Real:81/x HTTP/1.1\r\nHost: other\r\n\r\n";
    talk(gate.address(), raw, 1);
    let carried = backend.take();
    let request = carried[0].request.as_ref().unwrap();
    assert_eq!(request.all("host"), ["real:81"]);
    assert_eq!(request.all("x-forwarded-host"), ["real:81"]);
}
