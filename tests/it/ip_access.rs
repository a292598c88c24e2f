//! Routes that only some addresses may use: whose word counts, and what the others see.

use tokio::net::TcpSocket;

use crate::support::{Backend, Client, Gate, OK, ask};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: gate\r\n";

/// What a client gets with these fields.
async fn status(gate: &Gate, fields: &str) -> u16 {
    ask(gate.address(), format!("{REQUEST}{fields}\r\n")).await.status()
}

#[tokio::test]
async fn an_address_that_is_denied_gets_a_refusal_and_reaches_nobody() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "allow_ips = [\"127.0.0.0/8\"]\ndeny_ips = [\"127.0.0.1\"]\n");
    let answer = ask(gate.address(), format!("{REQUEST}\r\n")).await;
    assert_eq!(answer.refusal(), (403, "ip_denied".to_owned()));
    assert!(!answer.text().contains("127.0.0.1") && !answer.text().contains("deny_ips"), "{}", answer.text());
    assert!(backend.seen().is_empty());
    gate.counted("tollgate_refusals_total{route=\"app\",code=\"ip_denied\",mode=\"enforce\"} 1").await;

    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Client::over(socket.connect(gate.address()).await.unwrap());
    assert_eq!(other.ask(format!("{REQUEST}\r\n")).await.status(), 200, "an address that is allowed and not denied");
}

#[tokio::test]
async fn what_a_stranger_says_of_its_address_changes_nothing() {
    let backend = Backend::answering(OK).await;
    let forged = [
        "X-Forwarded-For: 10.0.0.1\r\n",
        "X-Forwarded-For: 10.0.0.1, 10.0.0.1\r\nX-Forwarded-For: 10.0.0.1\r\n",
        "Forwarded: for=10.0.0.1\r\n",
        "X-Real-IP: 10.0.0.1\r\nTrue-Client-IP: 10.0.0.1\r\nX-Client-IP: 10.0.0.1\r\n",
    ];
    let only_ten = Gate::before(&backend, "allow_ips = [\"10.0.0.0/8\"]\n");
    let never_ten = Gate::before(&backend, "deny_ips = [\"10.0.0.0/8\"]\n");
    for fields in forged {
        assert_eq!(status(&only_ten, fields).await, 403, "{fields}");
        assert_eq!(status(&never_ten, fields).await, 200, "{fields}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_whose_address_counts() {
    let backend = Backend::answering(OK).await;
    let trusting = |keys: &str| Gate::before(&backend, &format!("{keys}[server]\ntrusted_proxies = [\"127.0.0.1\"]\n"));
    let only_ten = trusting("allow_ips = [\"10.0.0.0/8\"]\n");
    assert_eq!(status(&only_ten, "X-Forwarded-For: 10.0.0.1\r\n").await, 200);
    assert_eq!(status(&only_ten, "X-Forwarded-For: ::ffff:10.0.0.1\r\n").await, 200);
    assert_eq!(status(&only_ten, "X-Forwarded-For: 11.0.0.1\r\n").await, 403);
    assert_eq!(status(&only_ten, "").await, 403, "the proxy itself");
    // Only the nearest word is the proxy's; what stands before it, a client has made up.
    assert_eq!(status(&only_ten, "X-Forwarded-For: 10.0.0.1, 11.0.0.1\r\n").await, 403);
    let never_ten = trusting("deny_ips = [\"::ffff:10.0.0.0/104\"]\n");
    assert_eq!(status(&never_ten, "X-Forwarded-For: 10.0.0.1\r\n").await, 403);
    assert_eq!(status(&never_ten, "X-Forwarded-For: 10.0.0.1, 11.0.0.1\r\n").await, 200);
}

#[tokio::test]
async fn an_ipv4_client_of_a_listener_for_both_families_is_an_ipv4_client() {
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(&backend, "allow_ips = [\"127.0.0.1\"]\n[server]\nlisten = [\"[::]:0\"]\n");
    let short = (std::net::Ipv4Addr::LOCALHOST, gate.address().port());
    assert_eq!(ask(short.into(), format!("{REQUEST}\r\n")).await.status(), 200);
    let long = (std::net::Ipv6Addr::LOCALHOST, gate.address().port());
    assert_eq!(ask(long.into(), format!("{REQUEST}\r\n")).await.refusal(), (403, "ip_denied".to_owned()));
}
