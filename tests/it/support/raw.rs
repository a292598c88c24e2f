//! Raw bytes over real sockets: a client that sends what it is told, and a backend that records every byte and reads
//! requests as strictly as can be. Blocking, since each test sends one thing at a time.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How long a peer may stay silent on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the backend says to everything.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// One request, as a strict reader reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let fields = self.fields.iter().filter(|(known, _)| known == name);
        fields.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }
}

/// What one connection to the backend carried.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    /// The request, where one was complete and well-formed.
    pub(crate) request: Option<Heard>,
    /// Bytes behind it.
    pub(crate) rest: Vec<u8>,
}

/// A backend that records, and answers 200 to each complete request, one a connection.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

#[derive(Default)]
struct Seen {
    accepted: u64,
    open: usize,
    carried: Vec<Carried>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        Self::answering(ANSWER)
    }

    /// Answers each request with these bytes, then closes.
    pub(crate) fn answering(answer: &'static [u8]) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let seen: Arc<(Mutex<Seen>, Condvar)> = Arc::default();
        let shared = seen.clone();
        std::thread::spawn(move || {
            for stream in socket.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                {
                    let mut seen = shared.0.lock().unwrap();
                    seen.accepted += 1;
                    seen.open += 1;
                    shared.1.notify_all();
                }
                std::thread::spawn(move || {
                    let carried = record(stream, answer);
                    let mut seen = shared.0.lock().unwrap();
                    seen.open -= 1;
                    seen.carried.extend(carried);
                    shared.1.notify_all();
                });
            }
        });
        Self { address, seen }
    }

    /// What has come since the last call. Everything that was sent before is in it: connections are accepted in the
    /// order in which they came, so that one of our own marks the end, and those before it are waited for.
    pub(crate) fn take(&self) -> Vec<Carried> {
        let before = self.seen.0.lock().unwrap().accepted;
        drop(TcpStream::connect(self.address).unwrap());
        let seen = self.seen.0.lock().unwrap();
        let busy = |seen: &mut Seen| seen.accepted == before || seen.open > 0;
        let (mut seen, waited) = self.seen.1.wait_timeout_while(seen, PATIENCE, busy).unwrap();
        assert!(!waited.timed_out(), "connections to the backend stay open");
        std::mem::take(&mut seen.carried)
    }
}

fn record(mut stream: TcpStream, answer: &[u8]) -> Option<Carried> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    let mut end = None;
    let mut chunk = [0; 16384];
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..read]);
        if end.is_none() && parse(&bytes).is_some() {
            end = parse(&bytes).map(|(_, length)| length);
            let _ = stream.write_all(answer);
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
    (!bytes.is_empty()).then(|| Carried {
        request: parse(&bytes).map(|(request, _)| request),
        rest: bytes[end.unwrap_or(bytes.len())..].to_vec(),
    })
}

/// Reads one request with its length in bytes: CRLF only, one Host, one framing.
fn parse(bytes: &[u8]) -> Option<(Heard, usize)> {
    let head_end = find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..head_end])
        .map_or_else(|_| bytes[..head_end].iter().map(|byte| char::from(*byte)).collect(), str::to_owned);
    let mut lines = head.split("\r\n");
    let mut request_line = lines.next()?.split(' ');
    let (method, target, version) = (request_line.next()?, request_line.next()?, request_line.next()?);
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        let token =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!~*'+&".contains(&byte));
        if !token || value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
            return None;
        }
        fields.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
    }
    let one = |name: &str| {
        let mut all = fields.iter().filter(|(known, _)| known == name);
        let first = all.next().map(|(_, value)| value.clone());
        all.next().is_none().then_some(first)
    };
    let sound =
        version == "HTTP/1.1" && request_line.next().is_none() && target.starts_with('/') && one("host")?.is_some();
    let behind = &bytes[head_end + 4..];
    let (body, length) = match (one("content-length")?, one("transfer-encoding")?) {
        (None, None) => (Vec::new(), 0),
        (Some(length), None) => {
            let length: usize = std::str::from_utf8(&length).ok()?.parse().ok()?;
            (behind.get(..length)?.to_vec(), length)
        }
        (None, Some(coding)) if coding == b"chunked" => chunked(behind)?,
        _ => return None,
    };
    let heard = Heard { method: method.into(), target: target.into(), fields, body };
    sound.then_some((heard, head_end + 4 + length))
}

fn chunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).ok()?, 16).ok()?;
        at += line + 2;
        if size == 0 {
            let trailers = if bytes[at..].starts_with(b"\r\n") { 2 } else { find(&bytes[at..], b"\r\n\r\n")? + 4 };
            return Some((body, at + trailers));
        }
        body.extend_from_slice(bytes.get(at..at + size)?);
        (bytes.get(at + size..at + size + 2)? == b"\r\n").then_some(())?;
        at += size + 2;
    }
}

pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// One response, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Got {
    /// Whether this is a problem (RFC 9457) with a code, its own status, and a length that is true.
    pub(crate) fn problem_code(&self) -> Option<String> {
        let typed = self.head.contains("content-type: application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let code = problem["code"].as_str().filter(|_| problem["status"] == self.status)?;
        typed.then(|| code.to_owned())
    }

    /// Whether it says that it is the last on its connection.
    pub(crate) fn closes(&self) -> bool {
        self.head.to_ascii_lowercase().contains("connection: close")
    }
}

/// Splits what a client received into responses; interim ones are left out. `None` where it is not whole responses.
pub(crate) fn responses(mut bytes: &[u8], head_only: bool) -> Option<Vec<Got>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let end = find(bytes, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status: u16 = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let bodiless = head_only || status < 200 || status == 204 || status == 304;
        let length = if bodiless { 0 } else { length? };
        let body = bytes.get(end + 4..end + 4 + length)?.to_vec();
        bytes = &bytes[end + 4 + length..];
        if status >= 200 {
            all.push(Got { status, head, body });
        }
    }
    Some(all)
}

/// Sends these bytes, waits for `answers` responses or the end, then stops sending and reads to the end. With
/// `answers` 0 it stops sending at once.
pub(crate) fn talk(gate: SocketAddr, bytes: &[u8], answers: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(gate).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(bytes); // refused half-way is as good
    let head_only = bytes.starts_with(b"HEAD");
    let mut got = Vec::new();
    let mut stopped = answers == 0;
    if stopped {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut chunk = [0; 16384];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return got,
            Ok(read) => got.extend_from_slice(&chunk[..read]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("no end of the connection, after {:?}", String::from_utf8_lossy(&got))
            }
            Err(_) => return got,
        }
        if !stopped && responses(&got, head_only).is_some_and(|all| all.len() >= answers) {
            stopped = true;
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
}
