//! Several requests on one connection: what follows a request that was refused is never read as a request.

use super::{Case, Must, case, get, judge, refuse};

/// A request that no backend may ever hear of.
macro_rules! behind {
    ($first:literal) => {
        concat!($first, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()
    };
}

macro_rules! after {
    ($second:literal) => {
        concat!("GET /first HTTP/1.1\r\nHost: a\r\n\r\n", $second).as_bytes()
    };
}

const REFUSED_FIRST: &[Case] = &[
    refuse("a bad path", behind!("GET /../x HTTP/1.1\r\nHost: a\r\n\r\n")),
    refuse("a bad path with a body", behind!("POST /../x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")),
    refuse("no host", behind!("GET /x HTTP/1.1\r\nAccept: a\r\n\r\n")),
    refuse("two hosts", behind!("GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")),
    refuse(
        "chunked twice",
        behind!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ),
    refuse(
        "identity, then chunked",
        behind!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
    ),
    refuse("identity", behind!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n")),
    refuse(
        "different lengths",
        behind!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n"),
    ),
    refuse(
        "a bad chunk",
        behind!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n0\r\n\r\n"),
    ),
    refuse(
        "a chunk that is too long",
        behind!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n"),
    ),
    refuse("a malformed field", behind!("GET / HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n")),
    refuse("a bad version", behind!("GET / HTTP/1.2\r\nHost: a\r\n\r\n")),
    refuse("CONNECT", behind!("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n")),
    refuse("a star", behind!("GET * HTTP/1.1\r\nHost: a\r\n\r\n")),
    refuse(
        "a length over HTTP/1.0 with chunked",
        behind!("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ),
];

const CLOSED_FIRST: &[Case] = &[
    get("Connection: close", behind!("GET /first HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), "/first"),
    get("close among others", behind!("GET /first HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n"), "/first"),
    get("HTTP/1.0", behind!("GET /first HTTP/1.0\r\nHost: a\r\n\r\n"), "/first"),
    case(
        "a length and chunked",
        behind!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Must::Pass { method: "POST", target: "/", body: b"" },
    ),
    case(
        "chunked and a length",
        behind!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        Must::Pass { method: "POST", target: "/", body: b"" },
    ),
    case(
        "a request in the body of a GET",
        b"GET /first HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n12",
        Must::Pass { method: "GET", target: "/first", body: b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n12" },
    ),
    case(
        "a request in the body of an upgrade",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\nContent-Length: 28\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        Must::Pass { method: "POST", target: "/", body: b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n" },
    ),
];

const REFUSED_SECOND: &[Case] = &[
    case("a malformed field", after!("GET / HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n"), Must::PassThenRefuse),
    case("a bad version", after!("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), Must::PassThenRefuse),
    case("no method", after!(" / HTTP/1.1\r\nHost: a\r\n\r\n"), Must::PassThenRefuse),
    case("a bad target", after!("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"), Must::PassThenRefuse),
    case(
        "different lengths",
        after!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        Must::PassThenRefuse,
    ),
    case("no host", after!("GET / HTTP/1.1\r\nAccept: a\r\n\r\n"), Must::PassThenRefuse),
    case("a bad path", after!("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"), Must::PassThenRefuse),
    case("rubbish", after!("\x00\x01\x02\x03"), Must::PassThenRefuse),
    case(
        "more body than its length",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi there\r\n\r\n",
        Must::PassThenRefuse,
    ),
    case(
        "data behind the last chunk",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX\r\n\r\n",
        Must::PassThenRefuse,
    ),
];

const BOTH: &[Case] = &[
    case("two requests", after!("GET /second HTTP/1.1\r\nHost: a\r\n\r\n"), Must::PassTwice),
    case("a body, then a request", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nHost: a\r\n\r\n", Must::PassTwice),
    case("a GET with a body, then a request", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nHost: a\r\n\r\n", Must::PassTwice),
    case("a HEAD with a body, then a HEAD", b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiHEAD /b HTTP/1.1\r\nHost: a\r\n\r\n", Must::PassTwice),
    case("chunks, then a request", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", Must::PassTwice),
    case("a refused upgrade, then a request", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", Must::PassTwice),
    case("a line end between requests", after!("\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n"), Must::PassTwice),
];

#[test]
fn what_follows_a_refused_request_is_not_read() {
    judge(REFUSED_FIRST.iter().map(Case::copy));
}

#[test]
fn what_follows_the_last_request_is_not_read() {
    judge(CLOSED_FIRST.iter().map(Case::copy));
}

#[test]
fn a_refusal_follows_the_answer_before_it() {
    judge(REFUSED_SECOND.iter().map(Case::copy));
}

#[test]
fn sound_requests_follow_each_other() {
    judge(BOTH.iter().map(Case::copy));
}
