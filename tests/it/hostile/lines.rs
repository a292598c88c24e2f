//! Request lines and line ends.

use super::{Case, Must, case, end, get, judge, refuse};

const LINES: &[Case] = &[
    get("a bare LF everywhere", b"GET /x HTTP/1.1\nHost: a\n\n", "/x"),
    get("a bare LF behind the request line", b"GET /x HTTP/1.1\nHost: a\r\n\r\n", "/x"),
    get("a bare LF behind a field", b"GET /x HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", "/x"),
    get("CRLFs before the request", b"\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", "/x"),
    get("HTTP/1.0", b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n", "/x"),
    refuse("a bare CR behind the request line", b"GET /x HTTP/1.1\rHost: a\r\n\r\n"),
    refuse("a bare CR behind a field", b"GET /x HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
    refuse("a CR, a CR and an LF", b"GET /x HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    refuse("spaces before the request", b"  GET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("two spaces before the target", b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("two spaces before the version", b"GET /x  HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("a space behind the version", b"GET /x HTTP/1.1 \r\nHost: a\r\n\r\n"),
    refuse("a tab before the target", b"GET\t/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("a tab before the version", b"GET /x\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("a vertical tab before the version", b"GET /x\x0bHTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("no version", b"GET /x\r\nHost: a\r\n\r\n"),
    refuse("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("nothing but a method", b"GET\r\nHost: a\r\n\r\n"),
    refuse("something behind the version", b"GET /x HTTP/1.1 x\r\nHost: a\r\n\r\n"),
    refuse("two versions", b"GET /x HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("version 0.9", b"GET /x HTTP/0.9\r\nHost: a\r\n\r\n"),
    refuse("version 1.2", b"GET /x HTTP/1.2\r\nHost: a\r\n\r\n"),
    refuse("version 1", b"GET /x HTTP/1\r\nHost: a\r\n\r\n"),
    refuse("version 1.10", b"GET /x HTTP/1.10\r\nHost: a\r\n\r\n"),
    refuse("version 2.0", b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n"),
    refuse("version 3.9", b"GET /x HTTP/3.9\r\nHost: a\r\n\r\n"),
    refuse("a version in lower case", b"GET /x http/1.1\r\nHost: a\r\n\r\n"),
    refuse("another protocol", b"GET /x HTTPS/1.1\r\nHost: a\r\n\r\n"),
    refuse("a version with a comma", b"GET /x HTTP/1,1\r\nHost: a\r\n\r\n"),
    refuse("no method", b" /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("a method with a separator", b"GE(T /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("a method with a comma", b"GET,POST /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("a method with a NUL", b"GE\0T /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    refuse("a method beyond ASCII", b"G\xc3\x89T /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    case(
        "a method in lower case",
        b"get /x HTTP/1.1\r\nHost: a\r\n\r\n",
        Must::Pass { method: "get", target: "/x", body: b"" },
    ),
    case(
        "an unknown method",
        b"FOO /x HTTP/1.1\r\nHost: a\r\n\r\n",
        Must::Pass { method: "FOO", target: "/x", body: b"" },
    ),
    end("HTTP/0.9", b"GET /x\r\n"),
    end("half a preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\n"),
    end("a preface of HTTP/2 that goes wrong", b"PRI * HTTP/2.0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
    end("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaa"),
    end("nothing", b""),
    end("only line ends", b"\r\n\r\n"),
    end("half a head", b"GET /x HTTP/1.1\r\nHost: a\r\n"),
    end("a greeting of a proxy", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
];

#[test]
fn request_lines_are_read_strictly() {
    judge(LINES.iter().map(Case::copy));
}

#[test]
fn an_endless_method_is_refused() {
    let raw = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(70_000)).into_bytes();
    judge([Case { name: "a method of 70,000 letters", raw: raw.into(), must: Must::Refuse(&[400, 431]) }]);
}
