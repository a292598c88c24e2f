//! Names and passwords: right ones pass and cost once, wrong ones tell nothing and push nobody out, and too many of them are
//! turned away without a pass.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::task::JoinSet;

use super::{Guarded, replace};
use crate::support::{Backend, Gate, OK, ask, eventually_async};

fn user(name: &str, password: &str, cost: u32) -> String {
    format!("{name}:{}\n", bcrypt::hash_with_salt(password, cost, [3; 16]).unwrap().to_string().replace("$2b$", "$2y$"))
}

fn basic(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:{password}")))
}

async fn users(lines: &str, auth: &str, route: &str) -> Guarded {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.htpasswd");
    std::fs::write(&file, lines).unwrap();
    Guarded::with(folder, &format!("kind = 'basic'\nusers_file = {file:?}\n{auth}"), route).await
}

#[tokio::test]
async fn a_name_with_its_password_passes_and_nothing_else() {
    // The last one is made by the reference implementation of argon2.
    let lines = format!(
        "{}{}dave:$argon2i$v=19$m=64,t=2,p=2$c29tZXNhbHQ$IInz54p5lyD4CvgGVTEo8psTLK/kDQWf\n",
        user("alice", "open:sesame", 4),
        user("Zoë", "pässword", 5)
    );
    let guarded = users(&lines, "claims_to_headers = { sub = 'x-user' }\n", "'main'").await;
    let spoofed = "X-User: root\r\nx_user: root\r\n";
    for (name, password, told) in
        [("alice", "open:sesame", "alice"), ("Zoë", "pässword", "Zo%C3%AB"), ("dave", "password", "dave")]
    {
        // The second time it is known.
        for _ in 0..2 {
            let answer = guarded.ask(&format!("{spoofed}{}", basic(name, password))).await;
            assert_eq!(answer.status(), 200, "{name}");
            let seen = guarded.backend.seen().pop().unwrap().head;
            assert_eq!(seen.all("x-user"), [told]);
            assert!(!seen.has("authorization") && !seen.has("x_user"), "{seen:?}");
            let line = guarded.logged(answer.head.get("x-request-id").unwrap()).await;
            assert_eq!(line["subject"], name, "{line}");
        }
    }
    let passed = guarded.backend.seen().len();
    let wrong = [
        basic("alice", "open"),
        basic("alice", ""),
        basic("alice", "open:sesame\n"),
        basic("", ""),
        basic("bob", "open:sesame"),
        basic("Alice", "open:sesame"),
        basic("alice", &"x".repeat(5000)),
        "Authorization: Basic\r\n".to_owned(),
        "Authorization: Basic %%%\r\n".to_owned(),
        format!("Authorization: Basic {}\r\n", STANDARD.encode("alice")),
        format!("Authorization: Basic {}\r\n", STANDARD.encode(b"\xff\xfe:x")),
        "Authorization: Bearer YWxpY2U6b3BlbjpzZXNhbWU=\r\n".to_owned(),
        basic("alice", "open:sesame").repeat(2),
        String::new(),
    ];
    for fields in wrong {
        let answer = guarded.ask(&fields).await;
        assert_eq!(answer.refusal(), (401, "credentials_invalid".to_owned()), "{fields}");
        assert_eq!(answer.head.all("www-authenticate"), ["Basic realm=\"tollgate\", charset=\"UTF-8\""]);
    }
    assert_eq!(guarded.backend.seen().len(), passed);
    let log = std::fs::read_to_string(guarded.file("access.log")).unwrap();
    assert!(!log.contains("sesame"), "{log}");
}

#[tokio::test]
async fn what_goes_on_and_what_is_optional() {
    let lines = user("alice", "secret", 4);
    let guarded = users(&lines, "forward_token = true\n", "'main'").await;
    let field = basic("alice", "secret");
    assert_eq!(guarded.ask(&field).await.status(), 200);
    assert_eq!(guarded.backend.only().head.get("authorization"), field.trim().strip_prefix("Authorization: "));
    for (route, fields, status) in [
        ("{ use = 'main', optional = true }", String::new(), 200),
        ("{ use = 'main', optional = true }", basic("alice", "x"), 401),
        ("{ use = 'main', mode = 'observe' }", basic("alice", "x"), 200),
    ] {
        let guarded = users(&lines, "claims_to_headers = { sub = 'x-user' }\n", route).await;
        assert_eq!(guarded.ask(&format!("X-User: root\r\n{fields}")).await.status(), status, "{route}");
        if status == 200 {
            let seen = guarded.backend.only().head;
            assert!(!seen.has("x-user") && !seen.has("authorization"), "{seen:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_costs_once_and_a_name_that_is_not_there_costs_as_much() {
    let guarded = users(&user("alice", "secret", 11), "", "'main'").await;
    let took = async |name: &str, password: &str, status: u16| {
        let began = Instant::now();
        assert_eq!(guarded.ask(&basic(name, password)).await.status(), status, "{name}");
        began.elapsed()
    };
    let first = took("alice", "secret", 200).await;
    // Others may know it too: every worker tries once.
    for _ in 0..20 {
        took("alice", "secret", 200).await;
    }
    let mut known = Vec::new();
    for _ in 0..20 {
        known.push(took("alice", "secret", 200).await);
    }
    known.sort_unstable();
    assert!(known[10] * 5 < first, "known {:?}, first {first:?}", known[10]);
    let (mut there, mut not) = (Duration::MAX, Duration::MAX);
    for attempt in 0..3 {
        there = there.min(took("alice", &format!("wrong {attempt}"), 401).await);
        not = not.min(took("mallory", &format!("wrong {attempt}"), 401).await);
    }
    // As long as each other, as far as a busy machine lets one see it; and neither as quick as what is known.
    let (least, known) = (there.min(not), known[10]);
    assert!(least > known * 5 && least * 10 > there.max(not), "there {there:?}, not {not:?}, known {known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_guesses_is_turned_away_and_whoever_is_known_passes() {
    let guarded = users(&user("alice", "secret", 11), "", "'main'").await;
    let known = basic("alice", "secret");
    for _ in 0..8 {
        assert_eq!(guarded.ask(&known).await.status(), 200);
    }
    let address = guarded.gate.address();
    let mut guesses = JoinSet::new();
    for number in 0..200 {
        let request = format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", basic("alice", &format!("guess {number}")));
        guesses.spawn(async move { ask(address, request).await });
    }
    let mut passed = 0;
    while guesses.len() > 100 {
        assert_eq!(guarded.ask(&known).await.status(), 200);
        passed += 1;
        if let Some(answer) = guesses.try_join_next() {
            check(&answer.unwrap());
        }
    }
    assert!(passed > 0);
    let mut turned_away = 0;
    while let Some(answer) = guesses.join_next().await {
        turned_away += usize::from(check(&answer.unwrap()) == 503);
    }
    assert!(turned_away > 0, "more guesses than places");
    assert_eq!(guarded.ask(&known).await.status(), 200, "it was not pushed out");
    assert_eq!(guarded.counted("ok").await as usize, guarded.backend.seen().len());

    fn check(answer: &crate::support::client::Answer) -> u16 {
        match answer.refusal() {
            (401, code) => assert_eq!(code, "credentials_invalid"),
            (status, code) => {
                assert_eq!((status, code.as_str()), (503, "overloaded"));
                assert_eq!(answer.head.get("retry-after"), Some("1"));
            }
        }
        answer.status()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_counts_no_more_though_it_was_known() {
    let guarded = users(&user("alice", "old", 4), "", "'main'").await;
    let status = async |password: &str| guarded.ask(&basic("alice", password)).await.status();
    assert_eq!((status("old").await, status("new").await), (200, 401));
    let file = guarded.file("users.htpasswd");
    replace(&file, "alice:$apr1$not$slow\n");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!((status("old").await, status("new").await), (200, 401), "a bad file changes nothing");
    replace(&file, &user("alice", "new", 4));
    eventually_async("the new password", async || status("new").await == 200).await;
    assert_eq!(status("old").await, 401);
    replace(&file, "");
    eventually_async("nobody", async || status("new").await == 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_out_lives_on_over_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    std::fs::write(&file, user("alice", "secret", 12)).unwrap();
    let backend = Backend::answering(OK).await;
    let text = |prefix: &str| {
        format!(
            "[server]\nworkers = 1\n[[routes]]\nprefix = '{prefix}'\nupstream = 'http://{}'\nauth = 'main'\n\
             [auth.main]\nkind = 'basic'\nusers_file = {file:?}\n",
            backend.address()
        )
    };
    let gate = Gate::start(&text("/"));
    let took = async |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: gate\r\n{}\r\n", basic("alice", "secret"));
        let began = Instant::now();
        assert_eq!(ask(gate.address(), request).await.status(), 200);
        began.elapsed()
    };
    let first = took("/").await;
    gate.reload(&text("/a")).await;
    // Trying it again would have taken as long as the first time did.
    let after = took("/a").await;
    assert!(after * 3 < first, "first {first:?}, after the reload {after:?}");
}
