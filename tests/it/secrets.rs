//! Nothing that is secret comes out anywhere: marked tokens, passwords and keys go in at every place that takes one, and
//! all that the gateway says is searched for them.

use serde_json::json;

use crate::support::collector::Collector;
use crate::support::log::Log;
use crate::support::process::Process;
use crate::support::tokens::Signer;
use crate::support::{Backend, Client, OK, eventually};

/// Is part of every secret here.
const MARK: &str = "hunter2";

/// A configuration with a secret in each place that takes one.
fn configuration(backend: &Backend, collector: &Collector, log: &Log, format: &str) -> String {
    format!(
        "[server]\nlisten = ['127.0.0.1:0']\n[admin]\nlisten = '127.0.0.1:0'\ntoken = 'admin-{MARK}'\n\
         [log]\naccess = {:?}\nformat = '{format}'\nlevel = 'trace'\n{}\
         [upstreams.app]\naddresses = ['{}']\nbalance = {{ sticky = {{ secret = 'sticky-{MARK}-0123456789abcdef0123456789' }} }}\n\
         [auth.main]\nsecret = 'jwt-{MARK}-0123456789abcdef0123456789abcdef'\n\
         token_from = ['header:authorization', 'cookie:session', 'query:token']\n\
         [[routes]]\nname = 'app'\nprefix = '/'\nupstream = 'app'\nauth = 'main'\n",
        log.path(),
        collector.table(&format!("sample = 1\nheaders = {{ authorization = 'Bearer otlp-{MARK}' }}")),
        backend.address(),
    )
}

/// Requests with secrets in them, good and bad.
fn requests() -> (Vec<String>, Vec<String>) {
    let signer = Signer::hs256(format!("jwt-{MARK}-0123456789abcdef0123456789abcdef").as_bytes());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let good = signer.token(&json!({ "sub": "somebody", "exp": now + 600, "private": format!("claim-{MARK}") }));
    let old = signer.token(&json!({ "sub": "somebody", "exp": now - 600 }));
    let get = |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let sent = vec![
        get("/", &format!("Authorization: Bearer {good}\r\nX-Api-Key: {MARK}\r\nX-Tollgate-Trace: admin-{MARK}\r\n")),
        get("/", &format!("Cookie: session={good}; other={MARK}\r\nX-Tollgate-Trace: {MARK}\r\n")),
        get(&format!("/a;session={MARK}/b?token={good}&password={MARK}"), ""),
        get("/", &format!("Authorization: Bearer {old}\r\n")),
        get("/", &format!("Authorization: Bearer {MARK}.{MARK}.{MARK}\r\n")),
        get("/", &format!("Authorization: Basic {MARK}\r\n")),
        get(&format!("/?token={MARK}"), ""),
        get(&format!("http://user:{MARK}@a/"), ""),
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nProxy-Authorization: {MARK}\r\n\r\n{MARK}"),
    ];
    let signatures = [good, old].map(|token| token.rsplit('.').next().unwrap().to_owned());
    (sent, signatures.into())
}

#[tokio::test]
async fn no_secret_comes_out_anywhere() {
    for format in ["json", "text"] {
        let (backend, collector, log) = (Backend::answering(OK).await, Collector::start().await, Log::new());
        let (gate, address, admin) = Process::serve(&configuration(&backend, &collector, &log, format)).await;
        let (requests, mut secrets) = requests();
        secrets.push(MARK.to_owned());
        let mut said = Vec::new();
        let count = requests.len();
        for request in requests {
            let mut client = Client::connect(address).await;
            client.send(request).await;
            let answer = client.answer().await.unwrap();
            said.push(format!("{:?}\n{}", answer.head, answer.text()));
        }
        for token in
            ["", &format!("Authorization: Bearer admin-{MARK}\r\n"), &format!("Authorization: Bearer x{MARK}\r\n")]
        {
            for page in [
                "GET /metrics",
                "GET /api/v1/status",
                "GET /api/v1/log/level",
                "PUT /api/v1/log/level",
                "POST /api/v1/reload",
                "GET /readyz",
            ] {
                let lines = "Accept: application/openmetrics-text\r\nContent-Length: 0\r\nConnection: close";
                let mut client = Client::connect(admin).await;
                client.send(format!("{page} HTTP/1.1\r\nHost: a\r\n{token}{lines}\r\n\r\n")).await;
                let answer = client.answer().await.unwrap();
                said.push(format!("{page}: {:?}\n{}", answer.head, answer.text()));
            }
        }
        said.push(log.text(count).await);
        eventually("all spans", || collector.spans().iter().filter(|span| span.parent().is_empty()).count() == count)
            .await;
        let bytes = |seen: &crate::support::backend::Seen| String::from_utf8_lossy(&seen.content.bytes).into_owned();
        said.extend(collector.requests().iter().map(bytes));
        gate.signal("TERM");
        gate.says("stopped").await;
        said.push(gate.printed());
        assert!(said.iter().any(|text| text.contains("token_expired")), "{said:?}");
        assert_eq!(backend.seen().len(), 3, "three of them are let in");
        assert!(backend.seen().iter().all(|seen| !seen.head.has("x-tollgate-trace")));
        assert!(said[0].contains("x-tollgate-trace") && !said[1].contains("x-tollgate-trace"), "{said:?}");
        for text in &said {
            for secret in &secrets {
                assert!(!text.contains(secret), "{secret} is in {text}");
            }
        }
    }
}
