//! The commands that try it all out: `demo`, `probe`, `hello`, as processes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::load::ask;
use crate::support::process::Process;
use crate::support::{eventually_async, eventually_some, get};

/// Runs `tollgate probe`, and returns the exit code, how many each backend answered, and what was printed.
async fn probe(url: &str, requests: &str) -> (Option<i32>, Vec<u64>, String) {
    let mut process = Process::start(&["probe", url, "-n", requests]);
    let code = process.ends().await;
    process.says("errors").await;
    let printed = process.printed();
    let bars = printed.lines().filter(|line| line.contains('█'));
    let counts = bars.filter_map(|line| line.split_whitespace().rev().nth(1)?.parse().ok());
    (code, counts.collect(), printed)
}

async fn spreads_over(address: SocketAddr, replicas: usize) {
    let each = 30 / replicas as u64;
    eventually_async(&format!("30 requests spread over {replicas}"), async || {
        let (code, counts, _) = probe(&format!("http://{address}/"), "30").await;
        code == Some(0) && counts == vec![each; replicas]
    })
    .await;
}

async fn post(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_scales_and_ends() {
    let mut demo = Process::start(&["demo", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
    demo.says("^C ends it all").await;
    let addresses = demo.addresses_in("http://");
    let (gateway, admin, control) = (addresses[0], addresses[1], *addresses.last().unwrap());
    for command in [
        format!("tollgate probe http://{gateway}/"),
        format!("curl -i http://{gateway}/echo"),
        format!("'http://{control}/scale?replicas=5'"),
    ] {
        assert!(demo.printed().contains(&command), "{command} is not in {}", demo.printed());
    }
    assert_eq!(ask(admin, "/api/v1/status").await.status, 200, "{}", demo.printed());
    let token = demo.printed().lines().find_map(|line| Some(line.trim().strip_prefix("TOKEN=")?.to_owned())).unwrap();
    assert_eq!(get(gateway, "/private/echo").await.status(), 401);
    let with_token = format!("GET /private/echo HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {token}\r\n\r\n");
    let answer = eventually_some("the gateway has the issuer's keys", async || {
        let answer = crate::support::ask(gateway, &with_token).await;
        (answer.status() == 200).then_some(answer)
    });
    let answer = answer.await;
    assert!(answer.text().contains(r#"["x-user-id","alice"]"#) && !answer.text().contains(&token), "{}", answer.text());
    let (code, counts, printed) = probe(&format!("http://{gateway}/"), "30").await;
    assert_eq!((code, counts), (Some(0), vec![10, 10, 10]), "{printed}");

    demo.type_line("scale 5");
    demo.says("5 replicas").await;
    spreads_over(gateway, 5).await;
    demo.type_line("scale many");
    demo.says("write: scale N").await;
    assert!(post(control, "/scale?replicas=2").await.starts_with("HTTP/1.1 200 "));
    spreads_over(gateway, 2).await;
    assert!(post(control, "/scale?replicas=1000").await.starts_with("HTTP/1.1 400 "));
    assert!(post(control, "/scale").await.starts_with("HTTP/1.1 400 "));

    demo.end_input();
    spreads_over(gateway, 2).await;
    assert!(demo.runs(), "the end of its input ended it");
    demo.signal("INT");
    assert_eq!(demo.ends().await, Some(0), "{}", demo.printed());
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_are_taken_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (arguments, message) in [
        (["demo", "--control", "127.0.0.1:0", "--listen", &address], "(--listen)"),
        (["demo", "--listen", "127.0.0.1:0", "--control", &address], "(--control)"),
        (["hello", "--name", "a", "--listen", &address], "cannot listen on"),
    ] {
        let mut process = Process::start(&arguments);
        assert_eq!(process.ends().await, Some(3), "{}", process.printed());
        process.says(message).await;
        process.says(&address).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_says_who_it_is_and_probe_who_answered() {
    let mut hello = Process::start(&["hello", "--listen", "127.0.0.1:0", "--name", "me"]);
    hello.says("me listens on ").await;
    let address = hello.addresses_in("me listens on ")[0];
    assert_eq!(ask(address, "/").await.body, "Hello, world! I am me\n");
    let (code, counts, printed) = probe(&format!("http://{address}/"), "7").await;
    assert_eq!((code, counts), (Some(0), vec![7]), "{printed}");
    assert!(printed.contains("status   200 × 7"), "{printed}");
    let (code, _, printed) = probe(&format!("http://{address}/status/503"), "2").await;
    assert_eq!(code, Some(1), "{printed}");
    hello.signal("TERM");
    assert_eq!(hello.ends().await, Some(0));
    let (code, counts, printed) = probe(&format!("http://{address}/"), "2").await;
    assert_eq!((code, counts), (Some(1), vec![]), "{printed}");
    assert!(printed.contains("cannot connect"), "{printed}");
    for usage in
        [&["probe"][..], &["probe", "ftp://a/"], &["probe", "http://a/", "-c", "0"], &["hello", "--listen", "a"]]
    {
        assert_eq!(Process::start(usage).ends().await, Some(2), "{usage:?}");
    }
}
