//! The codec refuses malformed heads by itself; the socket gives these refusals the form of every other. Here that
//! replacement must neither be missed nor hit an answer that is not the codec's.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::gateway;
use crate::support::Gate;
use crate::support::raw::{Recorder, find, responses, talk};

const MALFORMED: &str = "GET / HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n";

/// An answer that looks like the codec's as much as an answer can.
const LIKE_THE_CODEC: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n";

fn statuses(bytes: &[u8]) -> Vec<(u16, Option<String>)> {
    let all = responses(bytes, false).unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(bytes)));
    all.iter().map(|got| (got.status, got.problem_code())).collect()
}

fn bad_request() -> (u16, Option<String>) {
    (400, Some("bad_request".to_owned()))
}

#[test]
fn an_answer_that_looks_like_a_refusal_passes_unchanged() {
    let backend = Recorder::answering(LIKE_THE_CODEC);
    let gate = gateway(&backend);
    let bytes = talk(gate.address(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1);
    assert_eq!(statuses(&bytes), [(400, None)]);
    assert!(find(&bytes, b"x-request-id: ").is_some());
}

#[test]
fn a_refusal_behind_an_empty_404_is_the_only_one_replaced() {
    let backend = Recorder::answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let gate = gateway(&backend);
    for second in [MALFORMED, "\0", "GET / HTTP/9.9\r\nHost: a\r\n\r\n"] {
        let raw = format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{second}");
        let bytes = talk(gate.address(), raw.as_bytes(), 2);
        assert_eq!(statuses(&bytes), [(404, None), bad_request()], "{second:?}");
    }
}

#[test]
fn a_body_that_looks_like_a_refusal_passes_unchanged() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate =
        Gate::start(&format!("[[routes]]\nprefix = \"/\"\nupstream = \"http://{}\"", socket.local_addr().unwrap()));
    let (go_on, told) = std::sync::mpsc::channel();
    let backend = std::thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).unwrap() > 0);
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", LIKE_THE_CODEC.len()).unwrap();
        told.recv().unwrap(); // so that the body is a message of its own between the sockets
        stream.write_all(LIKE_THE_CODEC).unwrap();
        told.recv().unwrap();
    });
    let mut stream = TcpStream::connect(gate.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut byte = [0];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    go_on.send(()).unwrap();
    let mut body = vec![0; LIKE_THE_CODEC.len()];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(String::from_utf8_lossy(&body), String::from_utf8_lossy(LIKE_THE_CODEC));
    stream.write_all(MALFORMED.as_bytes()).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(statuses(&rest), [bad_request()]);
    go_on.send(()).unwrap();
    backend.join().unwrap();
}

#[test]
fn an_interim_response_stands_before_its_answer_and_never_in_a_refusal() {
    const ANSWER: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
        HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let backend = Recorder::answering(ANSWER);
    let gate = gateway(&backend);
    let raw = format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{MALFORMED}");
    let bytes = talk(gate.address(), raw.as_bytes(), 2);
    assert!(bytes.starts_with(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\n"));
    assert_eq!(statuses(&bytes), [(404, None), bad_request()]);
}

#[test]
fn a_refusal_on_a_kept_connection_has_a_problem() {
    let backend = Recorder::start();
    let gate = gateway(&backend);
    for first in ["GET", "HEAD"] {
        let mut stream = TcpStream::connect(gate.address()).unwrap();
        write!(stream, "{first} / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(if first == "GET" { b"\r\n\r\nok".as_slice() } else { b"\r\n\r\n" }) {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(MALFORMED.as_bytes()).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(statuses(&rest), [bad_request()], "after {first}");
    }
}

#[test]
fn a_head_that_comes_byte_by_byte_is_refused_alike() {
    let backend = Recorder::start();
    let gate = gateway(&backend);
    let mut stream = TcpStream::connect(gate.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in MALFORMED.as_bytes() {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
    }
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    assert_eq!(statuses(&got), [bad_request()]);
    assert!(backend.take().is_empty());
}

#[test]
fn a_refusal_waits_behind_an_answer_that_is_read_slowly() {
    static ANSWER: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let mut answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\nconnection: close\r\n\r\n").into_bytes();
        answer.extend((0..LENGTH).map(|at| b"0123456789"[at % 10]));
        answer
    });
    const LENGTH: usize = 4 * 1024 * 1024;
    let backend = Recorder::answering(&ANSWER);
    let gate = gateway(&backend);
    let raw = format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{MALFORMED}");
    // A small window, so that the end of the answer still waits when the second head is read.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&gate.address().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(raw.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let got = responses(&bytes, false).expect("the answer is whole");
    assert_eq!(got.len(), 2);
    assert!(got[0].status == 200 && ANSWER.ends_with(&got[0].body) && got[0].body.len() == LENGTH);
    assert_eq!(got[1].status, 400);
}
