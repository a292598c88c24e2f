//! The word of a service: asked about each request, heard when it says who asks, handed on when it says no, and no pass
//! when it says nothing.

use std::time::Duration;

use super::Guarded;
use crate::support::{Backend, Gate, OK, Peer, ask, get};

const YES: &str =
    "HTTP/1.1 204 No Content\r\nX-User: alice\r\nX-Role: admin\r\nX-Role: ops\r\nX-Other: 1\r\nSet-Cookie: a=1\r\n\r\n";

async fn asking(service: &Backend, auth: &str, route: &str) -> Guarded {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}/check?from=gate", service.address());
    let auth = format!("kind = 'forward'\nurl = '{url}'\ncopy_headers = ['x-user', 'x-role', 'x-gone']\n{auth}");
    Guarded::with(folder, &auth, route).await
}

#[tokio::test]
async fn a_service_is_asked_what_it_needs_to_know() {
    let service = Backend::answering(YES).await;
    let guarded = asking(&service, "subject_header = 'x-user'\n", "'main'").await;
    let request = "POST /a/../b?q=1 HTTP/1.1\r\nHost: Shop.test\r\nAuthorization: Bearer t\r\nCookie: s=1\r\nX-Custom: c\r\n\
                   X-User: root\r\nx_user: root\r\nX-Gone: root\r\nX_Role: root\r\nX-Forwarded-For: 6.6.6.6\r\n\
                   X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /public\r\nx_forwarded_uri: /public\r\n\
                   If-None-Match: \"a\"\r\nRange: bytes=0-1\r\nConnection: close, x-role\r\nTE: trailers\r\n\
                   Content-Length: 4\r\n\r\nbody";
    let answer = ask(guarded.gate.address(), request).await;
    assert_eq!(answer.status(), 200);
    let question = service.only();
    assert_eq!(question.head.line, "GET /check?from=gate HTTP/1.1");
    let host = service.address().to_string();
    for (name, values) in [
        ("host", vec![host.as_str()]),
        ("authorization", vec!["Bearer t"]),
        ("cookie", vec!["s=1"]),
        ("x-custom", vec!["c"]),
        ("x-forwarded-method", vec!["POST"]),
        ("x-forwarded-uri", vec!["/b?q=1"]),
        ("x-forwarded-host", vec!["shop.test"]),
        ("x-forwarded-for", vec!["127.0.0.1"]),
        ("x-forwarded-proto", vec!["http"]),
        ("x-request-id", vec![answer.head.get("x-request-id").unwrap()]),
    ] {
        assert_eq!(question.head.all(name), values, "{name}");
    }
    for name in [
        "x-user",
        "x_user",
        "x-role",
        "x_role",
        "x-gone",
        "x_forwarded_uri",
        "connection",
        "content-length",
        "transfer-encoding",
        "if-none-match",
        "range",
        "te",
    ] {
        assert!(!question.head.has(name), "{name}: {question:?}");
    }
    let seen = guarded.backend.only();
    assert_eq!((seen.head.line.as_str(), seen.content.bytes.as_slice()), ("POST /b?q=1 HTTP/1.1", b"body".as_slice()));
    assert_eq!((seen.head.all("x-user"), seen.head.all("x-role")), (vec!["alice"], vec!["admin", "ops"]));
    assert_eq!(seen.head.get("authorization"), Some("Bearer t"));
    for name in ["x_user", "x-gone", "x_role", "x-other", "set-cookie"] {
        assert!(!seen.head.has(name), "{name}: {seen:?}");
    }
    let line = guarded.logged(answer.head.get("x-request-id").unwrap()).await;
    assert_eq!((&line["auth"], &line["subject"]), (&"main".into(), &"alice".into()), "{line}");
}

#[tokio::test]
async fn what_clients_say_of_themselves_is_gone_whatever_the_service_says() {
    let silent = Backend::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let denying = Backend::answering("HTTP/1.1 403 Forbidden\r\nX-User: mallory\r\nContent-Length: 0\r\n\r\n").await;
    for (service, route) in [(&silent, "'main'"), (&denying, "{ use = 'main', mode = 'observe' }")] {
        let guarded = asking(service, "", route).await;
        let spoofed = "X-User: root\r\nX_User: root\r\nx-role: root\r\nX-Gone: root\r\n";
        assert_eq!(guarded.ask(spoofed).await.status(), 200, "{route}");
        let seen = guarded.backend.only().head;
        let names = ["x-user", "x_user", "x-role", "x-gone"];
        assert!(names.iter().all(|name| !seen.has(name)), "{seen:?}");
    }
}

#[tokio::test]
async fn any_other_answer_is_the_clients() {
    for (answer, status) in [
        (
            "302 Found\r\nLocation: https://login.test/?next=/\r\nSet-Cookie: s=1\r\nSet-Cookie: t=2\r\nContent-Length: 0",
            302,
        ),
        (
            "401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"x\"\r\nWWW-Authenticate: Basic\r\nContent-Length: 3",
            401,
        ),
        (
            "403 Forbidden\r\nContent-Type: text/html\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 3",
            403,
        ),
        ("500 Oops\r\nTransfer-Encoding: chunked", 500),
        ("304 Not Modified", 304),
    ] {
        let body = match answer {
            _ if answer.ends_with("chunked") => "3\r\nno!\r\n0\r\n\r\n",
            _ if answer.ends_with('3') => "no!",
            _ => "",
        };
        let service = Backend::answering(format!("HTTP/1.1 {answer}\r\n\r\n{body}")).await;
        let guarded = asking(&service, "", "'main'").await;
        let told = guarded.ask("").await;
        assert_eq!(told.status(), status);
        assert_eq!(told.text(), if body.is_empty() { "" } else { "no!" });
        for name in ["location", "set-cookie", "www-authenticate", "content-type"] {
            let expected =
                answer.lines().filter(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:"))).count();
            assert_eq!(told.head.all(name).len(), expected, "{name} {answer}");
        }
        assert!(told.head.has("x-request-id") && !told.head.has("x-hop") && !told.head.has("keep-alive"), "{told:?}");
        let line = guarded.logged(told.head.get("x-request-id").unwrap()).await;
        assert_eq!(line["cause"], format!("auth main: the service answered {status}"), "{line}");
        let head = ask(guarded.gate.address(), "HEAD / HTTP/1.1\r\nHost: gate\r\n\r\n").await;
        assert_eq!((head.status(), head.content.bytes.len()), (status, 0));
        assert!(guarded.backend.seen().is_empty());
        assert_eq!(guarded.counted("denied").await, 2);
    }
}

/// A service that treats each connection so.
async fn treating<F>(script: impl Fn(Peer) -> F + Send + 'static) -> Backend
where
    F: Future<Output = ()> + Send + 'static,
{
    Backend::start(script).await
}

#[tokio::test]
async fn no_answer_is_no_pass() {
    let closing = treating(|mut peer| async move {
        peer.request().await;
    })
    .await;
    let resetting = treating(|mut peer| async move {
        peer.request().await;
        peer.reset();
    })
    .await;
    let silent = treating(|mut peer| async move {
        peer.request().await;
        std::future::pending::<()>().await;
    })
    .await;
    let slow = treating(|mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 10\r\n\r\nno").await;
        std::future::pending::<()>().await;
    })
    .await;
    let garbage = Backend::answering("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    let switching =
        Backend::answering("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    let large =
        Backend::answering(format!("HTTP/1.1 403 No\r\nContent-Length: 70000\r\n\r\n{}", "x".repeat(70_000))).await;
    let short = treating(|mut peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 10\r\n\r\nno").await;
    })
    .await;
    for (name, service) in [
        ("closing", &closing),
        ("resetting", &resetting),
        ("silent", &silent),
        ("slow", &slow),
        ("garbage", &garbage),
        ("switching", &switching),
        ("large", &large),
        ("short", &short),
    ] {
        let guarded = asking(service, "timeout = '300ms'\n", "'main'").await;
        let answer = guarded.ask("").await;
        assert_eq!(answer.refusal(), (503, "auth_unavailable".to_owned()), "{name}");
        assert_eq!(answer.head.get("retry-after"), Some("1"), "{name}");
        assert!(guarded.backend.seen().is_empty(), "{name}");
        assert_eq!(guarded.counted("unavailable").await, 1, "{name}");
    }
    let gone = closing.address();
    drop(closing);
    for url in [format!("http://{gone}/"), "http://nowhere.invalid/".to_owned()] {
        let folder = tempfile::tempdir().unwrap();
        let auth = format!("kind = 'forward'\nurl = '{url}'\ntimeout = '300ms'\n");
        let guarded = Guarded::with(folder, &auth, "'main'").await;
        assert_eq!(guarded.ask("").await.refusal(), (503, "auth_unavailable".to_owned()), "{url}");
        assert!(guarded.backend.seen().is_empty());
    }
}

#[tokio::test]
async fn a_long_word_that_says_yes_is_a_yes() {
    let service = Backend::answering(format!(
        "HTTP/1.1 200 OK\r\nX-User: a\r\nContent-Length: 70000\r\n\r\n{}",
        "x".repeat(70_000)
    ))
    .await;
    let guarded = asking(&service, "", "'main'").await;
    assert_eq!(guarded.ask("").await.status(), 200);
    assert_eq!(guarded.backend.only().head.get("x-user"), Some("a"));
}

#[tokio::test]
async fn connections_to_the_service_are_used_again() {
    let service = Backend::start(|mut peer| async move {
        // Every connection is closed behind its tenth answer, without a word.
        for _ in 0..10 {
            if peer.request().await.is_none() {
                return;
            }
            peer.send(YES).await;
        }
    })
    .await;
    let guarded = asking(&service, "", "'main'").await;
    for _ in 0..100 {
        assert_eq!(guarded.ask("").await.status(), 200);
    }
    assert_eq!((service.seen().len(), guarded.backend.seen().len()), (100, 100));
    assert!(service.connections() < 30, "{}", service.connections());
}

#[tokio::test]
async fn a_question_that_breaks_the_service_is_asked_twice_at_most() {
    let service = treating(|mut peer| async move {
        while let Some(seen) = peer.request().await {
            if seen.head.get("x-forwarded-uri") == Some("/poison") {
                return peer.reset();
            }
            // Several at a time, so that several connections are kept.
            tokio::time::sleep(Duration::from_millis(50)).await;
            peer.send(YES).await;
        }
    })
    .await;
    let guarded = asking(&service, "timeout = '5s'\n", "'main'").await;
    let address = guarded.gate.address();
    let all: Vec<_> = (0..8).map(|_| tokio::spawn(async move { get(address, "/").await.status() })).collect();
    for one in all {
        assert_eq!(one.await.unwrap(), 200);
    }
    assert_eq!(guarded.get("/poison", "").await.refusal(), (503, "auth_unavailable".to_owned()));
    let asked = service.seen().iter().filter(|seen| seen.head.get("x-forwarded-uri") == Some("/poison")).count();
    assert!((1..=2).contains(&asked), "{asked}");
    assert_eq!(guarded.ask("").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_question_too_many_is_not_asked() {
    let service = treating(|mut peer| async move {
        while let Some(seen) = peer.request().await {
            if seen.head.get("x-forwarded-uri") == Some("/slow") {
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            peer.send(YES).await;
        }
    })
    .await;
    let guarded = asking(&service, "max_in_flight = 1\ntimeout = '5s'\n", "'main'").await;
    let address = guarded.gate.address();
    let slow = tokio::spawn(async move { get(address, "/slow").await.status() });
    crate::support::eventually_async("the slow question", async || !service.seen().is_empty()).await;
    let answer = guarded.ask("").await;
    assert_eq!(answer.refusal(), (503, "overloaded".to_owned()));
    assert_eq!(slow.await.unwrap(), 200);
    assert_eq!(guarded.ask("").await.status(), 200);
}

#[tokio::test]
async fn a_route_may_ask_for_what_the_service_has_said() {
    let service = Backend::replying(|seen| {
        let role = seen.head.get("x-claim").unwrap_or("guest").to_owned();
        format!("HTTP/1.1 200 OK\r\nX-Role: {role}\r\nContent-Length: 0\r\n\r\n")
    })
    .await;
    let guarded = asking(&service, "", "{ use = 'main', claims = { x-role = ['admin', 'ops'] } }").await;
    assert_eq!(guarded.ask("X-Claim: admin\r\n").await.status(), 200);
    assert_eq!(guarded.ask("X-Claim: user\r\n").await.refusal(), (403, "insufficient_scope".to_owned()));
    assert_eq!(guarded.ask("X-Claim: user\r\nX-Role: admin\r\n").await.status(), 403);
}

#[tokio::test]
async fn a_reload_keeps_connections_and_takes_a_new_service() {
    let (one, two) = (Backend::answering(YES).await, Backend::answering(YES).await);
    let backend = Backend::answering(OK).await;
    let text = |service: &Backend, prefix: &str| {
        format!(
            "[[routes]]\nprefix = '{prefix}'\nupstream = 'http://{}'\nauth = 'main'\n[server]\nworkers = 1\n\
             [auth.main]\nkind = 'forward'\nurl = 'http://{}/'\n",
            backend.address(),
            service.address()
        )
    };
    let gate = Gate::start(&text(&one, "/"));
    assert_eq!(get(gate.address(), "/").await.status(), 200);
    gate.reload(&text(&one, "/a")).await;
    assert_eq!(get(gate.address(), "/a").await.status(), 200);
    assert_eq!((one.seen().len(), one.connections()), (2, 1));
    gate.reload(&text(&two, "/a")).await;
    assert_eq!(get(gate.address(), "/a").await.status(), 200);
    assert_eq!((one.seen().len(), two.seen().len()), (2, 1));
}
