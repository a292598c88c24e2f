//! A gateway that has run out of file descriptors: it waits without turning round and round, says to those inside that it
//! has no room, blames nobody else for it, and goes on as soon as there are some again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tollgate::base::clock;

use crate::support::process::Process;
use crate::support::raw::{Recorder, responses, talk};

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
/// How many it may have.
const FILES: usize = 256;

fn serves(gate: SocketAddr) -> bool {
    responses(&talk(gate, REQUEST, 1), false).is_some_and(|all| all.len() == 1 && all[0].status == 200)
}

fn receives(stream: &mut TcpStream, patience: Duration) -> Vec<u8> {
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    got
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_file_descriptors_waits_in_silence_and_recovers() {
    let backend = Recorder::start();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n\
         [[routes]]\nprefix = \"/\"\nupstream = \"http://{}\"",
        backend.address
    );
    let (process, gate, _) = Process::serve_with_files(&text, FILES).await;
    assert!(serves(gate));
    let mut inside = TcpStream::connect(gate).unwrap();
    inside.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n").unwrap();
    let crowd: Vec<TcpStream> = (0..1000).map(|_| TcpStream::connect(gate).unwrap()).collect();
    let mut late = TcpStream::connect(gate).unwrap();
    late.write_all(REQUEST).unwrap();
    assert!(receives(&mut late, Duration::from_millis(300)).is_empty(), "there were enough for all: nothing is tested");
    let (before, began) = (process.cpu(), clock::now());
    assert!(receives(&mut late, Duration::from_secs(2)).is_empty());
    let (spent, passed) = (process.cpu() - before, began.elapsed());
    assert!(spent < passed / 4, "{spent:?} of work in {passed:?} of waiting");
    inside.write_all(b"Connection: close\r\n\r\n").unwrap();
    let got = receives(&mut inside, Duration::from_secs(10));
    let refused = responses(&got, false).unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(&got)));
    assert_eq!((refused[0].status, refused[0].problem_code().as_deref()), (503, Some("overloaded")));
    let left = clock::now();
    drop(crowd);
    let got = receives(&mut late, Duration::from_secs(10));
    assert!(got.starts_with(b"HTTP/1.1 200 OK\r\n"), "{:?}", String::from_utf8_lossy(&got));
    assert!(left.elapsed() < Duration::from_secs(3), "it took {:?} to recover", left.elapsed());
    assert!(serves(gate));
}
