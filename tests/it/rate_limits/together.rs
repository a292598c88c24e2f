//! Several limits of one request: all are taken, or none; and limits on requests at a time.

use std::time::Duration;

use tokio::sync::watch;

use super::{gate, passing, status, with};
use crate::support::tokens::{Signer, jwks};
use crate::support::{Backend, Client, Gate, OK, eventually, eventually_async};

#[tokio::test]
async fn what_one_refuses_costs_nothing_of_the_others() {
    let limits = "[rate_limits.wide]\nrate = \"10/h\"\n[rate_limits.narrow]\nkey = \"header:x-who\"\nrate = \"2/h\"\n";
    let (gate, backend) = gate("[\"wide\", \"narrow\"]", limits).await;
    assert_eq!(passing(&gate, 50, "X-Who: a\r\n").await, 2);
    assert_eq!(passing(&gate, 50, "X-Who: b\r\n").await, 2);
    let mut passed = 4;
    for who in 0..10 {
        passed += passing(&gate, 5, &format!("X-Who: {who}\r\n")).await;
    }
    assert_eq!((passed, backend.seen().len()), (10, 10));
}

#[tokio::test]
async fn what_one_refuses_is_told_as_still_there_by_the_others() {
    let limits = "[rate_limits.wide]\nrate = \"10/h\"\n[rate_limits.narrow]\nrate = \"2/h\"\n";
    let (gate, _backend) = gate("[\"wide\", \"narrow\"]", limits).await;
    for left in [(9, 1), (8, 0), (8, 0), (8, 0)] {
        let told = with(&gate, "").await.head.get("ratelimit").unwrap().to_owned();
        let (wide, narrow) = told.split_once(", ").unwrap();
        assert!(wide.starts_with(&format!("\"wide\";r={};", left.0)), "{told}");
        assert!(narrow.starts_with(&format!("\"narrow\";r={};", left.1)), "{told}");
    }
}

#[tokio::test]
async fn a_limit_behind_auth_costs_nothing_of_the_one_before() {
    let signer = Signer::es256("one");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, jwks(&[&signer])).unwrap();
    let tables = format!(
        "[rate_limits.ip]\nrate = \"10/h\"\n[rate_limits.user]\nkey = \"subject\"\nrate = \"1/h\"\n\
         [auth.main]\njwks_file = {file:?}\n"
    );
    let (gate, _backend) = gate("[\"ip\", \"user\"]\nauth = \"main\"", &tables).await;
    let bearer = |user: &str| format!("Authorization: Bearer {}\r\n", signer.good(user));
    assert_eq!(passing(&gate, 30, &bearer("alice")).await, 1);
    let mut passed = 1;
    for user in 0..30 {
        passed += passing(&gate, 1, &bearer(&user.to_string())).await;
    }
    assert_eq!(passed, 10, "the address has what it has");
    let refused = with(&gate, &bearer("alice")).await;
    assert!(refused.head.get("ratelimit").unwrap().starts_with("\"ip\";r=0"), "the first one says it");
}

#[tokio::test]
async fn costs_add_up_over_routes() {
    let backend = Backend::answering(OK).await;
    let address = backend.address();
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = \"/\"\nupstream = \"http://{address}\"\nrate_limit = \"a\"\n\
         [[routes]]\nprefix = \"/dear\"\nupstream = \"http://{address}\"\nrate_limit = {{ use = \"a\", cost = 4 }}\n\
         [rate_limits.a]\nrate = \"10/h\"\n"
    ));
    let mut client = Client::connect(gate.address()).await;
    let mut statuses = Vec::new();
    for path in ["/dear", "/", "/dear", "/dear", "/", "/"] {
        statuses.push(client.get(path).await.status());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 200, 429]);
}

/// A backend that answers when it is told to.
async fn held() -> (Backend, watch::Sender<bool>) {
    let (go, wait) = watch::channel(false);
    let backend = Backend::start(move |mut peer| {
        let mut wait = wait.clone();
        async move {
            while peer.request().await.is_some() {
                let _ = wait.wait_for(|go| *go).await;
                peer.send(OK).await;
            }
        }
    });
    (backend.await, go)
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_of_a_key_are_inside_and_no_more() {
    let (backend, go) = held().await;
    let tables = "rate_limit = [\"inside\", \"rate\"]\n[rate_limits.inside]\nkey = \"header:x-who\"\nmax_in_flight = 2\n\
                  [rate_limits.rate]\nrate = \"1000/h\"\n";
    let gate = Gate::before(&backend, tables);
    let address = gate.address();
    let ask = |who: &'static str| {
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            client.ask(format!("GET / HTTP/1.1\r\nHost: gate\r\nX-Who: {who}\r\n\r\n")).await.status()
        })
    };
    let inside = [ask("a"), ask("a"), ask("b")];
    eventually("three are inside", || backend.seen().len() == 3).await;
    let refused = with(&gate, "X-Who: a\r\n").await;
    assert_eq!(refused.refusal(), (429, "rate_limited".to_owned()));
    assert_eq!(refused.head.get("retry-after"), Some("1"));
    assert_eq!(status(&gate).await["limits"][0]["keys"], 2);
    assert_eq!(status(&gate).await["limits"][1]["decisions"]["allowed"], 3, "and nothing else was used up");
    // A client that goes away makes room.
    let mut leaving = Client::connect(address).await;
    leaving.send("GET / HTTP/1.1\r\nHost: gate\r\nX-Who: b\r\n\r\n").await;
    eventually("it is inside", || backend.seen().len() == 4).await;
    assert_eq!(with(&gate, "X-Who: b\r\n").await.status(), 429);
    leaving.reset();
    go.send_replace(true);
    for asked in inside {
        assert_eq!(asked.await.unwrap(), 200);
    }
    eventually_async("everybody has left", async || status(&gate).await["limits"][0]["keys"] == 0).await;
    assert_eq!(with(&gate, "X-Who: a\r\n").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_takes_exactly_what_there_is() {
    let limits =
        "[rate_limits.one]\nkey = \"global\"\nrate = \"100/h\"\n[rate_limits.two]\nkey = \"global\"\nrate = \"70/h\"\n";
    let (gate, backend) = gate("[\"one\", \"two\"]", &format!("{limits}[server]\nworkers = 2\n")).await;
    let crowd = (0..8).map(|_| passing(&gate, 30, ""));
    let passed: usize = tokio::time::timeout(Duration::from_secs(20), futures_util::future::join_all(crowd))
        .await
        .unwrap()
        .into_iter()
        .sum();
    assert_eq!((passed, backend.seen().len()), (70, 70));
    assert_eq!(status(&gate).await["limits"][0]["decisions"]["allowed"], 70);
}
