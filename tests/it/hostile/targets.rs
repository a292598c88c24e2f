//! Targets: one path, canonical, or none.

use super::{Case, Must, decline, end, get, judge, post, refuse};

macro_rules! ask {
    ($target:literal) => {
        concat!("GET ", $target, " HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()
    };
}

const FORMS: &[Case] = &[
    get("an absolute target", ask!("http://a/x?y"), "/x?y"),
    get("an absolute target with another host", ask!("http://b/x"), "/x"),
    get("an absolute target without a path", ask!("http://a"), "/"),
    get("an absolute target with a query alone", ask!("http://a?x"), "/?x"),
    get("an absolute target in capitals", ask!("HTTP://A/x"), "/x"),
    get("an absolute target over https", ask!("https://a/x"), "/x"),
    get("two slashes first", ask!("//evil/x"), "/evil/x"),
    get("three slashes first", ask!("///evil"), "/evil"),
    get("an address in a path", ask!("/http://evil/x"), "/http:/evil/x"),
    get("an at sign in a path", ask!("/@evil"), "/@evil"),
    get("question marks in a query", ask!("/x?a=//..//?b"), "/x?a=//..//?b"),
    get("an escaped line end in a query", ask!("/x?a=%0d%0aHost:b"), "/x?a=%0d%0aHost:b"),
    refuse("an absolute target with user information", ask!("http://user@a/x")),
    refuse("an absolute target with a password", ask!("http://user:secret@a/x")),
    refuse("an absolute target with another scheme", ask!("ftp://a/x")),
    refuse("a file", ask!("file:///etc/passwd")),
    refuse("an absolute target without a host", ask!("http:///x")),
    refuse("an absolute target with a port alone", ask!("http://:80/x")),
    refuse("an absolute target with a port that is none", ask!("http://a:x/")),
    refuse("an absolute target with a huge port", ask!("http://a:99999/")),
    refuse("an absolute target with a backslash", ask!("http://a\\b/")),
    refuse("one slash behind the scheme", ask!("http:/a/x")),
    refuse("no slash behind the scheme", ask!("http:a")),
    refuse("a word", ask!("foo")),
    refuse("a word and a path", ask!("foo/bar")),
    refuse("a host and a port", ask!("a:80")),
    refuse("an at sign", ask!("@evil/..")),
    refuse("user information", ask!("a@evil:80")),
    refuse("a backslash", ask!("\\evil")),
    refuse("a query alone", ask!("?x")),
    refuse("a fragment alone", ask!("#x")),
    refuse("dots", ask!("../x")),
    refuse("an escape alone", ask!("%2Fx")),
    refuse("a star", ask!("*")),
    refuse("a star and a path", ask!("*/x")),
    refuse("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("CONNECT with a path", b"CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("CONNECT with a body", b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
    refuse(
        "CONNECT and a request behind it",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    refuse("OPTIONS without a slash", b"OPTIONS x HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("a space in the target", ask!("/x y")),
    refuse("a tab in the target", ask!("/x\ty")),
    refuse("a NUL in the target", ask!("/x\0y")),
    refuse("a bell in the target", ask!("/x\x07y")),
    refuse("a DEL in the target", ask!("/x\x7fy")),
    refuse("a bare CR in the target", ask!("/x\ry")),
    end("a bare LF in the target", ask!("/x\ny")),
];

const PATHS: &[Case] = &[
    get("a dot segment", ask!("/a/./b"), "/a/b"),
    get("two dots", ask!("/a/../b"), "/b"),
    get("two escaped dots", ask!("/a/%2e%2e/b"), "/b"),
    get("two dots, one escaped", ask!("/a/.%2E/b"), "/b"),
    get("doubled slashes", ask!("/a//b"), "/a/b"),
    get("an escaped slash", ask!("/a%2fb"), "/a%2Fb"),
    get("an escaped slash with dots", ask!("/a/..%2fb"), "/a/..%2Fb"),
    get("a double escape", ask!("/a/%252e%252e/b"), "/a/%252e%252e/b"),
    get("an overlong dot", ask!("/a/%c0%ae%c0%ae/b"), "/a/%C0%AE%C0%AE/b"),
    get("escaped letters", ask!("/%61%62"), "/ab"),
    get("braces", ask!("/{a}"), "/%7Ba%7D"),
    get("a stripped prefix", ask!("/strip/x"), "/x"),
    get("nothing behind a stripped prefix", ask!("/strip"), "/"),
    get("slashes behind a stripped prefix", ask!("/strip//evil/x"), "/evil/x"),
    get("an address behind a stripped prefix", ask!("/strip/@evil"), "/@evil"),
    get("dots that leave a stripped prefix", ask!("/strip/../x"), "/x"),
    get("dots that reach a stripped prefix", ask!("/x/../strip/y"), "/y"),
    get("a prefix that goes on", ask!("/stripped/x"), "/stripped/x"),
    get("an escaped prefix", ask!("/%73trip/x"), "/x"),
    refuse("dots above the root", ask!("/../x")),
    refuse("escaped dots above the root", ask!("/%2e%2e/x")),
    refuse("dots behind a slash above the root", ask!("//../x")),
    refuse("an escaped NUL", ask!("/a%00b")),
    refuse("an escaped line end", ask!("/a%0d%0aHost:%20b")),
    refuse("an escaped DEL", ask!("/a%7f")),
    refuse("a plain backslash", ask!("/a\\b")),
    refuse("backslashes with dots", ask!("/a\\..\\b")),
    refuse("half an escape", ask!("/a%")),
    refuse("an escape of one digit", ask!("/a%2")),
    refuse("an escape of other letters", ask!("/a%zz")),
    refuse("an escape of a code point", ask!("/a%u002e")),
    refuse("dots with a parameter", ask!("/a/..;/b")),
    refuse("escaped dots with a parameter", ask!("/a/%2e%2e;x=1/b")),
    decline("an escaped slash behind a stripped prefix", ask!("/strip/a%2fb")),
    decline("an escaped slash for the prefix's own", ask!("/strip/%2f..%2fx")),
    decline("an escaped backslash behind a stripped prefix", ask!("/strip/a%5cb")),
    decline("a double escape behind a stripped prefix", ask!("/strip/%252e%252e/b")),
];

#[test]
fn a_target_is_a_path_or_nothing() {
    judge(FORMS.iter().map(Case::copy));
}

#[test]
fn a_path_has_one_form() {
    judge(PATHS.iter().map(Case::copy));
}

#[test]
fn an_endless_target_is_refused() {
    let raw = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000)).into_bytes();
    judge([Case { name: "a target of 70,000 letters", raw: raw.into(), must: Must::Refuse(&[400, 414, 431]) }]);
}

#[test]
fn a_fragment_never_reaches_the_backend() {
    judge([
        get("a fragment", ask!("/x#y"), "/x"),
        get("a fragment with a path", ask!("/x#/../y"), "/x"),
        get("a fragment behind a host", ask!("http://a#/y"), "/"),
        // Another codec carries what has a body.
        post("the same with a body", b"POST http://a#/y HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
    ]);
}

#[test]
fn a_star_asks_the_gateway_itself() {
    use crate::support::raw::{Recorder, responses, talk};
    let backend = Recorder::start();
    let gate = super::gateway(&backend);
    let got = responses(&talk(gate.address(), b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 1), false).unwrap();
    assert_eq!(got.iter().map(|got| got.status).collect::<Vec<_>>(), [204]);
    assert!(backend.take().is_empty());
}
