//! HTTP/2 frames that no polite client sends: what cannot be said in HTTP/1.1 never becomes two requests there.

use super::gateway;
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, block, frame};
use crate::support::raw::Recorder;

type Field = (&'static [u8], &'static [u8]);

/// What must come of a request.
#[derive(Clone, Copy)]
enum Must {
    /// No request reaches the backend; no answer is a success.
    Refuse,
    /// Nothing, or one request with this target and no body: whichever frame is looked at first. What follows the length
    /// that was announced goes nowhere.
    Empty(&'static str),
    /// One request, with this target and body.
    Pass(&'static str, &'static [u8]),
}

struct Case {
    name: &'static str,
    fields: Vec<Field>,
    data: Option<&'static [u8]>,
    must: Must,
}

const GET: Field = (b":method", b"GET");
const POST: Field = (b":method", b"POST");
const HTTP: Field = (b":scheme", b"http");
const HOST: Field = (b":authority", b"a");
const ROOT: Field = (b":path", b"/x");

fn refuse(name: &'static str, fields: &[Field]) -> Case {
    Case { name, fields: fields.to_vec(), data: None, must: Must::Refuse }
}

/// A sound request with something added.
fn with(name: &'static str, field: Field, must: Must) -> Case {
    Case { name, fields: vec![GET, HTTP, HOST, ROOT, field], data: None, must }
}

fn path(name: &'static str, path: &'static [u8], must: Must) -> Case {
    Case { name, fields: vec![GET, HTTP, HOST, (b":path", path)], data: None, must }
}

impl Case {
    fn method(&self) -> &str {
        let method = self.fields.iter().find(|(name, _)| *name == GET.0);
        method.map_or("", |(_, method)| std::str::from_utf8(method).unwrap_or_default())
    }
}

fn upload(name: &'static str, field: Option<Field>, data: &'static [u8], must: Must) -> Case {
    let mut fields = vec![POST, HTTP, HOST, ROOT];
    fields.extend(field);
    Case { name, fields, data: Some(data), must }
}

fn judge(cases: &[Case]) {
    let backend = Recorder::start();
    let gate = gateway(&backend);
    let mut faults = Vec::new();
    for case in cases {
        let mut frames = Frames::connect(gate.address());
        let end = if case.data.is_none() { END_STREAM } else { 0 };
        frames.send(&frame(HEADERS, END_HEADERS | end, 1, &block(&case.fields)));
        if let Some(data) = case.data {
            frames.send(&frame(DATA, END_STREAM, 1, data));
        }
        let status = frames.finish(1);
        frames.close();
        while frames.next().is_some() {}
        let carried = backend.take();
        let whole: Vec<_> = carried.iter().filter_map(|carried| carried.request.as_ref()).collect();
        let clean = carried.iter().all(|carried| carried.rest.is_empty());
        let right = match case.must {
            Must::Refuse => whole.is_empty() && status.is_none_or(|status| (400..500).contains(&status)),
            Must::Empty(target) => {
                let bare = |heard: &&crate::support::raw::Heard| heard.target == target && heard.body.is_empty();
                carried.len() <= 1 && whole.iter().all(bare)
            }
            Must::Pass(target, body) => {
                let same = |heard: &crate::support::raw::Heard| {
                    heard.method == case.method() && heard.target == target && heard.body == body
                };
                status == Some(200) && carried.len() == 1 && whole.len() == 1 && same(whole[0])
            }
        };
        if !right || !clean {
            faults.push(format!("{}: status {status:?}, backend {carried:?}", case.name));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    gate.shutdown();
}

#[test]
fn pseudo_fields_come_once_each_and_first() {
    judge(&[
        Case { name: "all of them", fields: vec![GET, HTTP, HOST, ROOT], data: None, must: Must::Pass("/x", b"") },
        refuse("no method", &[HTTP, HOST, ROOT]),
        refuse("no scheme", &[GET, HOST, ROOT]),
        refuse("no path", &[GET, HTTP, HOST]),
        refuse("no authority and no host", &[GET, HTTP, ROOT]),
        refuse("two methods", &[GET, POST, HTTP, HOST, ROOT]),
        refuse("two schemes", &[GET, HTTP, HTTP, HOST, ROOT]),
        refuse("two authorities", &[GET, HTTP, HOST, (b":authority", b"b"), ROOT]),
        refuse("two paths", &[GET, HTTP, HOST, ROOT, (b":path", b"/y")]),
        refuse("a path behind a field", &[GET, HTTP, HOST, (b"x-a", b"b"), ROOT]),
        refuse("an unknown one", &[GET, HTTP, HOST, ROOT, (b":x", b"y")]),
        refuse("a status", &[GET, HTTP, HOST, ROOT, (b":status", b"200")]),
        refuse("an empty method", &[(b":method", b""), HTTP, HOST, ROOT]),
        refuse("a method with a space", &[(b":method", b"GET /y"), HTTP, HOST, ROOT]),
        refuse("a method with a line end", &[(b":method", b"GET / HTTP/1.1\r\n"), HTTP, HOST, ROOT]),
        refuse("another scheme", &[GET, (b":scheme", b"ftp"), HOST, ROOT]),
        refuse("a scheme with a line end", &[GET, (b":scheme", b"http\r\n"), HOST, ROOT]),
        refuse("CONNECT", &[(b":method", b"CONNECT"), (b":authority", b"a:80")]),
        refuse("CONNECT with a path", &[(b":method", b"CONNECT"), HTTP, HOST, ROOT]),
        refuse("CONNECT with a protocol", &[(b":method", b"CONNECT"), (b":protocol", b"websocket"), HTTP, HOST, ROOT]),
    ]);
}

#[test]
fn a_path_cannot_split_a_request() {
    judge(&[
        path("empty", b"", Must::Refuse),
        path("without a slash", b"x", Must::Refuse),
        path("an at sign", b"@evil/x", Must::Refuse),
        path("a star", b"*", Must::Refuse),
        path("an address", b"http://evil/x", Must::Refuse),
        path("two slashes", b"//evil/x", Must::Pass("/evil/x", b"")),
        path("a line end", b"/x\r\nX-A: b", Must::Refuse),
        path(
            "a whole request",
            b"/ HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            Must::Refuse,
        ),
        path("a bare LF", b"/x\nX-A: b", Must::Refuse),
        path("a space", b"/x HTTP/1.1", Must::Refuse),
        path("a tab", b"/x\ty", Must::Refuse),
        path("a NUL", b"/x\0", Must::Refuse),
        path("a DEL", b"/x\x7f", Must::Refuse),
        path("dots above the root", b"/../x", Must::Refuse),
        path("an escaped line end", b"/x%0d%0ay", Must::Refuse),
        path("a line end in the query", b"/x?y\r\nX-A: b", Must::Refuse),
        path("an escaped line end in the query", b"/x?y=%0d%0a", Must::Pass("/x?y=%0d%0a", b"")),
    ]);
}

#[test]
fn fields_that_belong_to_http1_are_refused() {
    judge(&[
        with("a name in capitals", (b"X-A", b"b"), Must::Refuse),
        with("an empty name", (b"", b"b"), Must::Refuse),
        with("a name with a space", (b"x a", b"b"), Must::Refuse),
        with("a name with a colon", (b"x:a", b"b"), Must::Refuse),
        with("a name with a line end", (b"x\r\na", b"b"), Must::Refuse),
        with("a value with a line end", (b"x-a", b"b\r\nx-b: c"), Must::Refuse),
        with("a value with a bare LF", (b"x-a", b"b\nx-b: c"), Must::Refuse),
        with("a value with a bare CR", (b"x-a", b"b\rc"), Must::Refuse),
        with("a value with a NUL", (b"x-a", b"b\0c"), Must::Refuse),
        with("connection", (b"connection", b"close"), Must::Refuse),
        with("keep-alive", (b"keep-alive", b"1"), Must::Refuse),
        with("proxy-connection", (b"proxy-connection", b"close"), Must::Refuse),
        with("upgrade", (b"upgrade", b"h2c"), Must::Refuse),
        with("transfer-encoding", (b"transfer-encoding", b"chunked"), Must::Refuse),
        with("te that is not trailers", (b"te", b"gzip"), Must::Refuse),
        with("te that is trailers", (b"te", b"trailers"), Must::Pass("/x", b"")),
        with("another host", (b"host", b"b"), Must::Refuse),
        with("the same host", (b"host", b"A"), Must::Pass("/x", b"")),
        with("a host with a line end", (b"host", b"a\r\nx: y"), Must::Refuse),
        refuse("an authority with user information", &[GET, HTTP, (b":authority", b"u@a"), ROOT]),
        refuse("an authority with a line end", &[GET, HTTP, (b":authority", b"a\r\nx: y"), ROOT]),
        refuse("an authority with a slash", &[GET, HTTP, (b":authority", b"a/b"), ROOT]),
        refuse("an empty authority", &[GET, HTTP, (b":authority", b""), ROOT]),
        refuse("two hosts", &[GET, HTTP, ROOT, (b"host", b"a"), (b"host", b"b")]),
    ]);
}

#[test]
fn a_body_is_as_long_as_it_says() {
    let uploads = [
        upload("no length", None, b"hello", Must::Pass("/x", b"hello")),
        upload("a true length", Some((b"content-length", b"5")), b"hello", Must::Pass("/x", b"hello")),
        upload("too short a length", Some((b"content-length", b"3")), b"hello", Must::Refuse),
        upload(
            "a length of zero before a body",
            Some((b"content-length", b"0")),
            b"GET /y HTTP/1.1\r\n\r\n",
            Must::Empty("/x"),
        ),
        upload("too long a length", Some((b"content-length", b"50")), b"hello", Must::Refuse),
        upload("a length with a plus", Some((b"content-length", b"+5")), b"hello", Must::Refuse),
        upload("a list of lengths", Some((b"content-length", b"5, 5")), b"hello", Must::Refuse),
        upload(
            "chunked",
            Some((b"transfer-encoding", b"chunked")),
            b"0\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n",
            Must::Refuse,
        ),
        upload(
            "chunks as data",
            None,
            b"0\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n",
            Must::Pass("/x", b"0\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n"),
        ),
        Case {
            name: "two lengths",
            fields: vec![POST, HTTP, HOST, ROOT, (b"content-length", b"5"), (b"content-length", b"6")],
            data: Some(b"hello"),
            must: Must::Refuse,
        },
    ];
    judge(&uploads);
    // The same with a method that seldom has a body.
    judge(&uploads.map(|mut upload| {
        upload.fields[0] = GET;
        upload
    }));
}
