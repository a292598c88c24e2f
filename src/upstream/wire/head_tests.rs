//! Heads: taken whole or not at all, and every doubt about a frame refused.

use super::*;
use http::Request;

fn parsed(text: &[u8], to_head: bool) -> Result<Option<(Head, Vec<u8>)>, Malformed> {
    let mut input = BytesMut::from(text);
    let head = parse(&mut input, &mut Room::default(), to_head)?;
    Ok(head.map(|head| (head, input.to_vec())))
}

fn framed(fields: &str) -> Option<(Framing, bool)> {
    let head = parsed(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes(), false).ok()??.0;
    Some((head.framing, head.keep))
}

#[test]
fn a_request_is_written_as_it_is() {
    let request = Request::post("http://ignored/a%20b?c=d").header("host", "x").header("a", "1").header("a", "2");
    let mut out = Vec::new();
    write(&request.body(()).unwrap(), None, &mut out);
    assert_eq!(out, b"POST /a%20b?c=d HTTP/1.1\r\nhost: x\r\na: 1\r\na: 2\r\n\r\n");
    out.clear();
    write(&Request::get("http://gate?q").body(()).unwrap(), None, &mut out);
    assert_eq!(out, b"GET /?q HTTP/1.1\r\n\r\n");
    out.clear();
    write(&Request::builder().method("OPTIONS").uri("*").body(()).unwrap(), None, &mut out);
    assert_eq!(out, b"OPTIONS * HTTP/1.1\r\n\r\n");
}

#[test]
fn a_head_is_taken_off_once_it_is_complete() {
    let text = b"HTTP/1.1 404 Not Found\r\nX-A: 1\r\nContent-Length: 3\r\nx-a: \xff2\r\nx-empty:\r\n\r\nabc";
    let length = text.len() - 3;
    for cut in 0..length {
        assert!(parsed(&text[..cut], false).unwrap().is_none(), "{cut}");
    }
    let (head, rest) = parsed(text, false).unwrap().unwrap();
    assert_eq!(rest, b"abc");
    assert_eq!(head.response.status(), 404);
    let values: Vec<_> = head.response.headers().get_all("x-a").iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(values, [&b"1"[..], b"\xff2"]);
    assert_eq!(head.response.headers()["x-empty"], "");
    assert_eq!((head.framing, head.keep), (Framing::Length(3), true));
    assert!(head.response.extensions().get::<hyper::ext::ReasonPhrase>().is_none());
    let (head, _) = parsed(b"HTTP/1.1 200 Fine\r\n\r\n", false).unwrap().unwrap();
    assert_eq!(head.response.extensions().get::<hyper::ext::ReasonPhrase>().unwrap().as_bytes(), b"Fine");
}

#[test]
fn bodies_are_framed_by_the_book() {
    for (fields, expected) in [
        ("", Some((Framing::Close, false))),
        ("content-length: 0\r\n", Some((Framing::Length(0), true))),
        ("content-length: 5\r\ncontent-length: 5\r\n", Some((Framing::Length(5), true))),
        ("content-length: 5, 5\r\n", Some((Framing::Length(5), true))),
        ("content-length: 18446744073709551615\r\n", Some((Framing::Length(u64::MAX), true))),
        ("transfer-encoding: Chunked\r\n", Some((Framing::Chunked, true))),
        ("transfer-encoding: chunked\r\ncontent-length: 3\r\n", Some((Framing::Chunked, false))),
        ("content-length: 1\r\nconnection: x, Close\r\n", Some((Framing::Length(1), false))),
        ("content-length: 5\r\ncontent-length: 6\r\n", None),
        ("content-length: 5, 6\r\n", None),
        ("content-length: 5,\r\n", None),
        ("content-length:\r\n", None),
        ("content-length: +5\r\n", None),
        ("content-length: -5\r\n", None),
        ("content-length: 0x5\r\n", None),
        ("content-length: 5 5\r\n", None),
        ("content-length: 18446744073709551616\r\n", None),
        ("transfer-encoding: gzip\r\n", None),
        ("transfer-encoding: gzip, chunked\r\n", None),
        ("transfer-encoding: chunked, chunked\r\n", None),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", None),
        ("transfer-encoding: identity\r\n", None),
        ("transfer-encoding:\r\n", None),
        ("transfer-encoding: \x0bchunked\r\n", None),
    ] {
        assert_eq!(framed(fields), expected, "{fields:?}");
    }
}

#[test]
fn lengths_that_agree_become_one() {
    let (head, _) = parsed(b"HTTP/1.1 200 OK\r\ncontent-length: 5, 05\r\n\r\n", false).unwrap().unwrap();
    let lengths: Vec<_> = head.response.headers().get_all("content-length").iter().collect();
    assert_eq!(lengths, ["5"]);
}

#[test]
fn some_responses_have_no_body_whatever_they_say() {
    for (status, to_head) in
        [("204 No Content", false), ("304 Not Modified", false), ("103 Early Hints", false), ("200 OK", true)]
    {
        for field in ["content-length: 5", "transfer-encoding: chunked", "x: y"] {
            let text = format!("HTTP/1.1 {status}\r\n{field}\r\n\r\n");
            let (head, _) = parsed(text.as_bytes(), to_head).unwrap().unwrap();
            assert_eq!((head.framing, head.keep), (Framing::None, true), "{text}");
        }
    }
}

#[test]
fn an_old_server_keeps_a_connection_only_when_it_says_so() {
    for (field, keep) in [("x: y", false), ("connection: keep-alive", true), ("connection: keep-alive, close", false)] {
        let text = format!("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n{field}\r\n\r\n");
        assert_eq!(parsed(text.as_bytes(), false).unwrap().unwrap().0.keep, keep, "{field}");
    }
    assert!(parsed(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", false).is_err());
}

#[test]
fn what_is_no_response_head_is_refused() {
    for text in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "\0\0\0\0",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.1 twohundred OK\r\n\r\n",
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nname : x\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nname\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
    ] {
        assert!(parsed(text.as_bytes(), false).is_err(), "{text:?}");
    }
}

#[test]
fn a_head_has_its_limits() {
    let of = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert!(parsed(of(FIELDS).as_bytes(), false).unwrap().is_some());
    assert!(parsed(of(FIELDS + 1).as_bytes(), false).is_err());
    let long = |count: usize| format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(count));
    assert!(parsed(long(BYTES / 2).as_bytes(), false).unwrap().is_none());
    assert!(parsed(long(BYTES).as_bytes(), false).is_err());
    assert!(parsed(format!("{}\r\n\r\n", long(BYTES)).as_bytes(), false).is_err());
}
