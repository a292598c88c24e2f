//! A request is tried again elsewhere where that is safe and where the upstream bears it, and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Backend, Client, Gate, OK, ask, eventually_async, get};

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nbusy";
/// Reads the request and closes without a word.
const CLOSE: &str = "";

/// Backends that together answer the n-th request with the n-th of `replies`, and all later ones well; and a gateway
/// with all of them as one upstream, which has these keys.
async fn trial(backends: usize, replies: &'static [&'static str], upstream: &str) -> (Vec<Backend>, Gate) {
    let number = Arc::new(AtomicUsize::new(0));
    let mut all = Vec::new();
    for _ in 0..backends {
        let number = number.clone();
        let script = move |mut peer: crate::support::Peer| {
            let number = number.clone();
            async move {
                while peer.request().await.is_some() {
                    match replies.get(number.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(OK) {
                        CLOSE => return,
                        half if !half.contains("\r\n\r\n") => return peer.send(half).await,
                        reply => peer.send(reply).await,
                    }
                }
            }
        };
        all.push(Backend::start(script).await);
    }
    let gate = gate(&all, upstream);
    (all, gate)
}

fn gate(backends: &[Backend], upstream: &str) -> Gate {
    let addresses: Vec<String> =
        backends.iter().map(|backend| format!("{:?}", backend.address().to_string())).collect();
    Gate::start(&format!(
        "[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"app\"\n[upstreams.app]\naddresses = [{}]\n{upstream}",
        addresses.join(", ")
    ))
}

fn seen(backends: &[Backend]) -> Vec<crate::support::backend::Seen> {
    backends.iter().flat_map(Backend::seen).collect()
}

fn retried(reason: &str, count: usize) -> String {
    format!("tollgate_upstream_retries_total{{upstream=\"app\",reason=\"{reason}\"}} {count}")
}

fn skipped(reason: &str, count: usize) -> String {
    format!("tollgate_upstream_retries_skipped_total{{upstream=\"app\",reason=\"{reason}\"}} {count}")
}

fn request(method: &str, fields: &str, body: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: gate\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_failure_is_tried_again_on_another_address() {
    for (reply, reason) in [
        (BUSY, "status"),
        ("HTTP/1.1 502 Bad Gateway\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "status"),
        (CLOSE, "reset"),
        ("HTTP/1.1 20", "reset"),
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", "protocol"),
    ] {
        let (backends, gate) = trial(2, Box::leak(Box::new([reply])), "").await;
        let answer = get(gate.address(), "/").await;
        assert_eq!((answer.status(), answer.text()), (200, "ok".into()), "{reply:?}");
        assert!(backends.iter().all(|backend| backend.seen().len() == 1), "{reply:?}: each address once");
        gate.counted(&retried(reason, 1)).await;
    }
}

#[tokio::test]
async fn what_may_have_been_acted_on_is_not_sent_twice_without_a_key() {
    for (reply, status, reason) in [(CLOSE, 502, "reset"), (BUSY, 503, "status")] {
        let replies: &'static [&'static str] = Box::leak(Box::new([reply]));
        for (method, fields, times) in [
            ("POST", "", 1),
            ("PATCH", "", 1),
            ("POST", "Idempotency-Key: \"one\"\r\n", 2),
            ("PUT", "", 2),
            ("DELETE", "", 2),
        ] {
            let (backends, gate) = trial(2, replies, "").await;
            let answer = ask(gate.address(), request(method, fields, "an order")).await;
            assert_eq!(answer.status(), if times == 1 { status } else { 200 }, "{method} {fields} {reply:?}");
            let seen = seen(&backends);
            assert_eq!(seen.len(), times, "{method} {fields} {reply:?}");
            assert!(seen.iter().all(|seen| seen.content.bytes == b"an order"));
            let counted = if times == 1 { skipped("unsafe", 1) } else { retried(reason, 1) };
            gate.counted(&counted).await;
        }
    }
}

#[tokio::test]
async fn a_body_that_is_kept_arrives_again_byte_by_byte() {
    let body: String = (0..60 * 1024u32).map(|at| char::from(b' ' + u8::try_from(at * at % 89).unwrap())).collect();
    for reply in [BUSY, CLOSE] {
        let replies: &'static [&'static str] = Box::leak(Box::new([reply, reply]));
        let (backends, gate) = trial(3, replies, "").await;
        assert_eq!(ask(gate.address(), request("PUT", "", &body)).await.text(), "ok");
        assert!(backends.iter().all(|backend| backend.only().content.bytes == body.as_bytes()));
        assert!(backends.iter().all(|backend| backend.only().head.get("content-length") == Some("61440")));

        let mut chunks = "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n\r\n".to_owned();
        for chunk in body.as_bytes().chunks(1000) {
            chunks += &format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk));
        }
        chunks += "0\r\nX-Sum: 1\r\n\r\n";
        for method in ["PUT", "GET"] {
            let (backends, gate) = trial(3, replies, "").await;
            let chunked = format!("{method} / HTTP/1.1\r\nHost: gate\r\n{chunks}");
            assert_eq!(ask(gate.address(), chunked).await.text(), "ok");
            for backend in &backends {
                let seen = backend.only();
                assert_eq!(seen.content.bytes, body.as_bytes());
                assert_eq!(seen.content.trailers.get("x-sum"), Some("1"));
                assert!(!seen.head.has("content-length"));
            }
        }
    }
}

/// The first address closes when it has the head and some of the body; the client has not sent all of it by then.
#[tokio::test]
async fn a_body_goes_on_where_the_first_try_broke_off() {
    let number = Arc::new(AtomicUsize::new(0));
    let mut backends = Vec::new();
    for _ in 0..2 {
        let number = number.clone();
        let script = move |mut peer: crate::support::Peer| {
            let number = number.clone();
            async move {
                if number.fetch_add(1, Ordering::SeqCst) == 0 {
                    peer.request_head().await;
                    peer.exactly(10_000).await;
                    peer.reset();
                } else if peer.request().await.is_some() {
                    peer.send(OK).await;
                }
            }
        };
        backends.push(Backend::start(script).await);
    }
    let gate = gate(&backends, "");
    let mut client = Client::connect(gate.address()).await;
    let halves = ["a".repeat(20_000), "b".repeat(20_000)];
    client.send("PUT / HTTP/1.1\r\nHost: gate\r\nContent-Length: 40000\r\n\r\n").await;
    client.send(&halves[0]).await;
    gate.counted(&retried("reset", 1)).await;
    client.send(&halves[1]).await;
    assert_eq!(client.answer().await.unwrap().text(), "ok");
    let whole = seen(&backends).into_iter().find(|seen| !seen.content.bytes.is_empty()).unwrap();
    assert_eq!(whole.content.bytes, halves.concat().as_bytes());
    let again = client.get("/").await;
    assert_eq!(again.status(), 200, "the client's connection goes on");
}

#[tokio::test]
async fn a_body_that_is_too_long_to_be_kept_is_sent_once_and_that_is_counted() {
    let body = "x".repeat(70 * 1024);
    for (reply, status) in [(BUSY, 503), (CLOSE, 502)] {
        let replies: &'static [&'static str] = Box::leak(Box::new([reply]));
        let (backends, gate) = trial(2, replies, "").await;
        let answer = ask(gate.address(), request("PUT", "", &body)).await;
        assert_eq!(answer.status(), status);
        assert_eq!(seen(&backends).len(), 1);
        gate.counted(&skipped("body", 1)).await;

        let (backends, gate) = trial(2, replies, "").await;
        let chunked = format!(
            "PUT / HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        assert_eq!(ask(gate.address(), chunked).await.status(), status);
        assert_eq!(seen(&backends).len(), 1);
        gate.counted(&skipped("body", 1)).await;
    }
}

#[tokio::test]
async fn the_last_answer_is_passed_on_as_it_is() {
    let (backends, gate) = trial(3, &[BUSY, BUSY, BUSY], "").await;
    let answer = get(gate.address(), "/").await;
    assert_eq!((answer.status(), answer.text()), (503, "busy".into()));
    assert_eq!(answer.head.get("retry-after"), Some("7"));
    assert_eq!(seen(&backends).len(), 3);
    gate.counted(&retried("status", 2)).await;

    let (backends, gate) = trial(1, &[BUSY], "").await;
    assert_eq!(get(gate.address(), "/").await.text(), "busy");
    assert_eq!(seen(&backends).len(), 1);
    gate.counted(&skipped("address", 1)).await;
}

#[tokio::test]
async fn an_answer_is_worth_more_than_none() {
    let busy = Backend::answering(BUSY).await;
    let refusing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = refusing.local_addr().unwrap();
    drop(refusing);
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = \"/\"\nupstream = \"app\"\n[upstreams.app]\naddresses = [\"{dead}\", \"{}\"]\n",
        busy.address()
    ));
    let mut client = Client::connect(gate.address()).await;
    for _ in 0..4 {
        let answer = client.get("/").await;
        assert_eq!((answer.status(), answer.text()), (503, "busy".into()), "whichever was asked first");
    }
    let head = client.ask("HEAD / HTTP/1.1\r\nHost: gate\r\n\r\n").await.head;
    assert_eq!((head.status(), head.get("content-length")), (503, Some("4")));
}

#[tokio::test]
async fn a_discarded_answer_leaves_its_connection_of_use_where_its_end_is_near() {
    let long = "HTTP/1.1 503 Busy\r\ncontent-length: 1000000\r\n\r\nmore to come";
    for (reply, reused) in [(BUSY, true), (long, false)] {
        let replies: &'static [&'static str] = Box::leak(Box::new([reply]));
        let (backends, gate) = trial(2, replies, "[server]\nworkers = 1\n").await;
        let mut client = Client::connect(gate.address()).await;
        for _ in 0..4 {
            assert_eq!(client.get("/").await.text(), "ok");
        }
        let connections: usize = backends.iter().map(Backend::connections).sum();
        assert_eq!(connections, if reused { 2 } else { 3 });
        gate.counted("tollgate_upstream_connections{upstream=\"app\",state=\"idle\"} 2").await;
        eventually_async("nothing is in flight", async || {
            let status = get(gate.admin(), "/api/v1/status").await.text();
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            let addresses = status["upstreams"][0]["addresses"].as_array().unwrap();
            addresses.len() == 2 && addresses.iter().all(|address| address["in_flight"] == 0)
        })
        .await;
    }
}

#[tokio::test]
async fn only_what_is_listed_is_tried_again_and_only_so_often() {
    const FAULT: &str = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n";
    for (replies, retry, status, tries) in [
        (&[FAULT, FAULT][..], "", 500, 1),
        (&[FAULT], "on = [\"500\"]", 200, 2),
        (&[BUSY], "on = [\"connect\", \"500\"]", 503, 1),
        (&[BUSY, BUSY], "attempts = 0", 503, 1),
        (&[BUSY, BUSY], "attempts = 1", 503, 2),
        (&[BUSY], "budget = 0\nmin_per_second = 0", 503, 1),
        (&[BUSY], "budget = 0\nmin_per_second = 1", 200, 2),
    ] {
        let (backends, gate) = trial(3, replies, &format!("[upstreams.app.retry]\n{retry}")).await;
        assert_eq!(get(gate.address(), "/").await.status(), status, "{retry}");
        assert_eq!(seen(&backends).len(), tries, "{retry}");
    }
}

#[tokio::test]
async fn an_upgrade_is_tried_elsewhere_only_where_nothing_was_sent() {
    let upgrade = "GET / HTTP/1.1\r\nHost: gate\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (backends, gate) = trial(2, &[BUSY], "").await;
    assert_eq!(ask(gate.address(), upgrade).await.text(), "busy");
    assert_eq!(seen(&backends).len(), 1);
    gate.counted(&skipped("unsafe", 1)).await;

    let refusing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = refusing.local_addr().unwrap();
    drop(refusing);
    let agreeing = Backend::start(async |mut peer| {
        peer.request().await;
        peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello").await;
        peer.ended().await;
    })
    .await;
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = \"/\"\nupstream = \"app\"\n[upstreams.app]\naddresses = [\"{dead}\", \"{}\"]\n",
        agreeing.address()
    ));
    for _ in 0..2 {
        let mut client = Client::connect(gate.address()).await;
        client.send(upgrade).await;
        assert_eq!(client.head().await.unwrap().status(), 101);
        assert_eq!(client.exactly(5).await.unwrap(), b"hello");
    }
}

#[tokio::test]
async fn an_interim_response_does_not_make_an_answer() {
    const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    let hinted = [HINT, BUSY].concat();
    let replies: &'static [&'static str] = Box::leak(Box::new([&*hinted.leak()]));
    let (backends, gate) = trial(2, replies, "").await;
    let mut client = Client::connect(gate.address()).await;
    client.send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    let hint = client.head().await.unwrap();
    assert_eq!((hint.status(), hint.get("link")), (103, Some("</a.css>")));
    assert_eq!(client.answer().await.unwrap().text(), "ok");
    assert_eq!(seen(&backends).len(), 2);
}

/// All backends fail: what they get is bounded by what the clients send.
#[tokio::test]
async fn a_storm_gets_a_fifth_more_and_then_no_more() {
    let load = Arc::new(AtomicUsize::new(0));
    let mut backends = Vec::new();
    for _ in 0..3 {
        let load = load.clone();
        let replying = move |_: &crate::support::backend::Seen| {
            load.fetch_add(1, Ordering::SeqCst);
            BUSY
        };
        backends.push(Backend::replying(replying).await);
    }
    let gate = gate(&backends, "[upstreams.app.retry]\nmin_per_second = 0\n");
    let storm = async |requests: usize| {
        let lanes = (0..4).map(async |_| {
            let mut client = Client::connect(gate.address()).await;
            for _ in 0..requests / 4 {
                let answer = client.get("/").await;
                assert_eq!((answer.status(), answer.text()), (503, "busy".into()));
            }
        });
        futures_util::future::join_all(lanes).await;
    };
    storm(400).await;
    assert!(!gate.metrics().await.contains(&skipped("budget", 0)), "the budget is used up");
    let before = load.load(Ordering::SeqCst);
    storm(2000).await;
    let more = load.load(Ordering::SeqCst) - before;
    assert!((2300..=2401).contains(&more), "2000 requests became {more}");
}
