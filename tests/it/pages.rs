//! The operators' pages, as the documents and the demo name them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::support::Gate;

/// The whole answer to a GET, head and body.
fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn every_page_that_is_named_anywhere_is_there() {
    let gate = Gate::start("[[routes]]\nprefix = \"/\"\nupstream = \"http://127.0.0.1:1\"");
    for page in ["/livez", "/readyz", "/metrics", "/status", "/api/v1/status", "/api/v1/config"] {
        let answer = get(gate.admin(), page);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{page}: {answer}");
    }
    assert!(get(gate.admin(), "/metrics").contains("tollgate_build_info{"));
    assert!(get(gate.admin(), "/nothing").starts_with("HTTP/1.1 404 "));
    gate.shutdown();
}
