//! Balancing by what a request brings: a key of its own, or the cookie of an earlier answer.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use crate::support::client::{Answer, Client};
use crate::support::town::{Container, Town};
use crate::support::{Backend, Gate, OK};

/// A gateway in front of every address of `app.test`, balancing like this.
fn gate(town: &Town, balance: &str, more: &str) -> Gate {
    let port = town.port;
    town.gate(&format!(
        "[upstreams.app]\ndns = \"app.test.:{port}\"\nbalance = {balance}\n\
         [[routes]]\nprefix = \"/\"\nupstream = \"app\"\n{more}"
    ))
}

async fn containers(town: &Town, lasts: &[u8]) -> BTreeMap<u8, Container> {
    let started = join_all(lasts.iter().map(async |&last| (last, town.start("app", last).await))).await;
    town.publish("app.test", lasts);
    started.into_iter().collect()
}

/// Who answers a request with these fields.
async fn asked(client: &mut Client, target: &str, fields: &str) -> (String, Answer) {
    let answer = client.ask(format!("GET {target} HTTP/1.1\r\nHost: gate\r\n{fields}\r\n")).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    (answer.head.get("x-backend").expect("a stamp").to_owned(), answer)
}

/// The owner of each of so many users.
async fn owners(gate: &Gate, users: usize) -> Vec<String> {
    let mut client = Client::connect(gate.address()).await;
    let mut owners = Vec::new();
    for user in 0..users {
        owners.push(asked(&mut client, "/", &format!("X-User: {user}\r\n")).await.0);
    }
    owners
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_keys_meet_at_one_address_and_few_move_when_one_leaves() {
    let town = Town::new().await;
    let lasts: Vec<u8> = (1..=10).collect();
    let mut running = containers(&town, &lasts).await;
    let gate = gate(&town, "{ hash = \"header:x-user\" }", "");
    let before = owners(&gate, 300).await;
    assert_eq!(before, owners(&gate, 300).await, "another connection, the same addresses");
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 10);
    let stay: Vec<u8> = lasts.iter().copied().filter(|last| *last != 4).collect();
    town.publish("app.test", &stay);
    town.noticed(&["app.test"]).await;
    running.remove(&4).unwrap().stop().await;
    let gone = format!("app@{}", town.address(4));
    for (before, after) in before.iter().zip(owners(&gate, 300).await) {
        assert!(*before == after || *before == gone, "{before} stays, and {after} has its key");
        assert_ne!(after, gone);
    }
    let moved = before.iter().filter(|owner| **owner == gone).count();
    assert!((5..=60).contains(&moved), "{moved} of 300 keys were there");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_of_a_request_can_be_the_key() {
    let town = Town::new().await;
    let _running = containers(&town, &[1, 2, 3, 4]).await;
    for (key, target, fields) in [
        ("header:x-user", "/", "X-User: %\r\n"),
        ("cookie:id", "/", "Cookie: a=b; id=%\r\n"),
        ("query:user", "/?x=1&user=%", ""),
        ("path", "/delay/%", ""),
    ] {
        let gate = gate(&town, &format!("{{ hash = \"{key}\" }}"), "");
        let mut client = Client::connect(gate.address()).await;
        let mut seen = BTreeSet::new();
        for user in 0..24 {
            let with = |text: &str| text.replace('%', &user.to_string());
            let (first, _) = asked(&mut client, &with(target), &with(fields)).await;
            let (second, _) = asked(&mut client, &with(target), &with(fields)).await;
            assert_eq!(first, second, "{key} of {user}");
            seen.insert(first);
        }
        assert!(seen.len() >= 3, "{key} leads everybody to {seen:?}");
        // Without the key everybody has its turn.
        if key != "path" {
            let mut turns = BTreeSet::new();
            for _ in 0..4 {
                turns.insert(asked(&mut client, "/", "").await.0);
            }
            assert_eq!(turns.len(), 4, "{key}");
        }
    }
    let by_ip = gate(&town, "{ hash = \"ip\" }", "[server]\ntrusted_proxies = [\"127.0.0.1\"]");
    let mut client = Client::connect(by_ip.address()).await;
    let mut seen = BTreeSet::new();
    for last in 0..24 {
        let field = format!("X-Forwarded-For: 10.0.0.{last}\r\n");
        let (first, _) = asked(&mut client, "/", &field).await;
        assert_eq!(first, asked(&mut client, "/", &field).await.0);
        seen.insert(first);
    }
    assert!(seen.len() >= 3, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_refuses_hands_its_keys_on() {
    let town = Town::new().await;
    let mut running = containers(&town, &[1, 2, 3]).await;
    let gate = gate(&town, "{ hash = \"header:x-user\" }", "");
    let before = owners(&gate, 30).await;
    let dead = format!("app@{}", town.address(2));
    running.remove(&2).unwrap().stop().await;
    for (before, after) in before.iter().zip(owners(&gate, 30).await) {
        assert!(*before == after || *before == dead && after != dead, "{before} -> {after}");
    }
}

/// The `Set-Cookie` of an answer, and the pair that a client sends back.
fn cookie(answer: &Answer) -> Option<(String, String)> {
    let set = answer.head.get("set-cookie")?.to_owned();
    let pair = set.split(';').next().unwrap().to_owned();
    Some((set, pair))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_its_cookie_comes_back_also_after_a_restart() {
    let town = Town::new().await;
    let mut running = containers(&town, &[1, 2, 3]).await;
    let sticky = "{ sticky = { cookie = \"seat\", max_age = \"2h\", secret = \"0123456789abcdef\" } }";
    let first_gate = gate(&town, sticky, "");
    let mut client = Client::connect(first_gate.address()).await;
    let (home, answer) = asked(&mut client, "/", "").await;
    let (set, pair) = cookie(&answer).expect("a cookie");
    assert!(set.starts_with("seat=") && set.ends_with("; Path=/; Max-Age=7200; HttpOnly; SameSite=Lax"), "{set}");
    assert!(!set.contains("127.70"), "{set}");
    let field = format!("Cookie: a=1; {pair}; b=2\r\n");
    for _ in 0..7 {
        let (again, answer) = asked(&mut client, "/", &field).await;
        assert_eq!((again, cookie(&answer)), (home.clone(), None));
    }
    first_gate.shutdown();
    let second_gate = gate(&town, sticky, "");
    let mut client = Client::connect(second_gate.address()).await;
    for _ in 0..7 {
        assert_eq!(asked(&mut client, "/", &field).await.0, home);
    }
    // A forged one is none.
    let (_, answer) = asked(&mut client, "/", &field.replace("seat=", "seat=0")).await;
    assert!(cookie(&answer).is_some());
    // Its address leaves: another one, and a cookie for it.
    let left: u8 = home.rsplit('.').next().unwrap().parse().unwrap();
    let stay: Vec<u8> = (1..=3).filter(|last| *last != left).collect();
    town.publish("app.test", &stay);
    town.noticed(&["app.test"]).await;
    running.remove(&left).unwrap().stop().await;
    let (other, answer) = asked(&mut client, "/", &field).await;
    assert_ne!(other, home);
    let (_, pair) = cookie(&answer).expect("another cookie");
    for _ in 0..5 {
        assert_eq!(asked(&mut client, "/", &format!("Cookie: {pair}\r\n")).await.0, other);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_address_refuses_gets_another_and_a_cookie_for_it() {
    let town = Town::new().await;
    let mut running = containers(&town, &[1, 2]).await;
    let gate = gate(&town, "{ sticky = {} }", "");
    let mut client = Client::connect(gate.address()).await;
    let (home, answer) = asked(&mut client, "/", "").await;
    let (_, pair) = cookie(&answer).expect("a cookie");
    running.remove(&home.rsplit('.').next().unwrap().parse().unwrap()).unwrap().stop().await;
    let (other, answer) = asked(&mut client, "/", &format!("Cookie: {pair}\r\n")).await;
    assert_ne!(other, home);
    assert!(cookie(&answer).is_some());
}

#[tokio::test]
async fn the_cookie_of_the_gateway_stays_between_it_and_the_client() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nset-cookie: own=1\r\ncontent-length: 2\r\n\r\nok").await;
    let gate = Gate::before_upstream(&backend, "balance = { sticky = {} }");
    let mut client = Client::connect(gate.address()).await;
    let answer = client.get("/").await;
    let set: Vec<&str> = answer.head.all("set-cookie");
    assert!(set.len() == 2 && set[0] == "own=1" && set[1].starts_with("tollgate="), "{set:?}");
    let pair = set[1].split(';').next().unwrap();
    for (sent, seen) in [
        (format!("a=1; {pair}; b=2"), Some("a=1; b=2")),
        (pair.to_owned(), None),
        ("tollgate=forged; a=1".to_owned(), Some("a=1")),
        ("a=1;  b=2".to_owned(), Some("a=1;  b=2")),
    ] {
        client.ask(format!("GET / HTTP/1.1\r\nHost: gate\r\nCookie: {sent}\r\n\r\n")).await;
        assert_eq!(backend.seen().last().unwrap().head.get("cookie"), seen);
    }
    let plain = Backend::answering(OK).await;
    let gate = Gate::before(&plain, "");
    Client::connect(gate.address()).await.ask("GET / HTTP/1.1\r\nHost: gate\r\nCookie: tollgate=x\r\n\r\n").await;
    assert_eq!(plain.only().head.get("cookie"), Some("tollgate=x"), "only where it is the gateway's");
}

#[tokio::test]
async fn behind_a_trusted_proxy_that_speaks_tls_the_cookie_is_secure() {
    let backend = Backend::answering(OK).await;
    let gate =
        Gate::before_upstream(&backend, "balance = { sticky = {} }\n[server]\ntrusted_proxies = [\"127.0.0.1\"]");
    let mut client = Client::connect(gate.address()).await;
    for (proto, secure) in [("https", true), ("http", false)] {
        let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: gate\r\nX-Forwarded-Proto: {proto}\r\n\r\n")).await;
        assert_eq!(cookie(&answer).unwrap().0.contains("; Secure"), secure, "{proto}");
    }
}
