//! Plain use: hits, ages, parts, conditions, and what changes make void.

use super::{counting, gate, get_with, replying, response, send, status};
use crate::support::log::Log;
use crate::support::{Client, Gate, get};

const FRESH: &str = "cache-control: max-age=60\r\netag: \"a\"\r\n";

#[tokio::test]
async fn what_was_fetched_once_is_served_again_and_says_so() {
    let backend = counting("cache-control: max-age=60\r\nlink: <a>\r\nlink: <b>\r\n").await;
    let log = Log::new();
    let gate = Gate::before(&backend, &format!("cache = true\n{}", log.table()));
    // On one connection, so that their lines are in order.
    let mut client = Client::connect(gate.address()).await;
    let first = client.get("/a?b").await;
    assert_eq!((first.text(), status(&first)), ("1".into(), "tollgate; fwd=uri-miss; stored".into()));
    let again = client.get("/a?b").await;
    assert_eq!((again.text(), status(&again)), ("1".into(), "tollgate; hit".into()));
    assert_eq!(again.head.all("link"), ["<a>", "<b>"]);
    assert_eq!((again.head.get("age"), again.head.get("date")), (Some("0"), again.head.get("date")));
    assert_eq!(client.get("/a?c").await.text(), "2");
    assert_eq!(backend.seen().len(), 2);
    gate.counted("tollgate_cache_requests_total{route=\"app\",result=\"hit\"} 1").await;
    gate.counted("tollgate_cache_requests_total{route=\"app\",result=\"miss\"} 2").await;
    gate.counted("tollgate_cache_entries 2").await;
    drop(client);
    gate.shutdown();
    let lines = log.lines(3).await;
    assert_eq!(lines.iter().map(|line| line["cache"].as_str().unwrap()).collect::<Vec<_>>(), ["miss", "hit", "miss"]);
    assert!(lines[1].get("upstream").is_none() && lines[0]["upstream"] == "app");
}

#[tokio::test]
async fn a_date_is_given_once_and_never_changed() {
    let backend = replying(|seen, _| {
        let date = if seen.head.target() == "/dated" { "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" } else { "" };
        response(&format!("cache-control: max-age=999999999\r\n{date}"), "x")
    });
    let backend = backend.await;
    let gate = gate(&backend, "true");
    for _ in 0..2 {
        let dated = get(gate.address(), "/dated").await;
        assert_eq!(dated.head.get("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    }
    get(gate.address(), "/undated").await;
    let stored = get(gate.address(), "/undated").await.head.get("date").unwrap().to_owned();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(get(gate.address(), "/undated").await.head.get("date"), Some(stored.as_str()));
}

#[tokio::test]
async fn heads_parts_and_conditions_are_answered_from_the_whole() {
    let backend = replying(|_, _| response(FRESH, "0123456789")).await;
    let gate = gate(&backend, "true");
    get(gate.address(), "/").await;
    let head = send(&gate, "HEAD", "/", "").await;
    assert_eq!(
        (head.status(), head.head.get("content-length"), status(&head)),
        (200, Some("10"), "tollgate; hit".into())
    );
    let part = get_with(&gate, "/", "Range: bytes=2-4\r\n").await;
    assert_eq!((part.status(), part.text()), (206, "234".into()));
    assert_eq!((part.head.get("content-range"), part.head.get("content-length")), (Some("bytes 2-4/10"), Some("3")));
    let nowhere = get_with(&gate, "/", "Range: bytes=10-\r\n").await;
    assert_eq!((nowhere.status(), nowhere.head.get("content-range")), (416, Some("bytes */10")));
    assert_eq!(get_with(&gate, "/", "Range: bytes=0-1,3-4\r\n").await.status(), 200);
    assert_eq!(get_with(&gate, "/", "Range: bytes=0-1\r\nIf-Range: \"b\"\r\n").await.status(), 200);
    let unchanged = get_with(&gate, "/", "If-None-Match: \"b\", W/\"a\"\r\n").await;
    assert_eq!((unchanged.status(), unchanged.head.get("etag")), (304, Some("\"a\"")));
    assert!(!unchanged.head.has("content-length") && unchanged.head.has("date"));
    assert_eq!(get_with(&gate, "/", "If-None-Match: \"b\"\r\n").await.text(), "0123456789");
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn a_client_that_has_it_already_does_not_keep_it_from_the_store() {
    let backend = replying(|_, _| response(FRESH, "0123456789")).await;
    let gate = gate(&backend, "true");
    assert_eq!(get_with(&gate, "/", "If-None-Match: \"a\"\r\n").await.status(), 304);
    assert!(!backend.only().head.has("if-none-match"), "the store wants the whole");
    assert_eq!(get(gate.address(), "/").await.text(), "0123456789");
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn parts_of_what_is_not_there_pass_and_are_not_kept() {
    let backend = replying(|seen, _| {
        match seen.head.get("range") {
        Some(_) => "HTTP/1.1 206 Partial Content\r\ncache-control: max-age=60\r\ncontent-range: bytes 0-1/3\r\ncontent-length: 2\r\n\r\nab".into(),
        None => response(FRESH, "abc"),
    }
    });
    let backend = backend.await;
    let gate = gate(&backend, "true");
    for _ in 0..2 {
        assert_eq!(get_with(&gate, "/", "Range: bytes=0-1\r\n").await.status(), 206);
    }
    assert_eq!(get(gate.address(), "/").await.text(), "abc");
    assert_eq!(backend.seen().len(), 3);
}

#[tokio::test]
async fn the_upstream_is_asked_by_the_stores_conditions_and_one_304_serves_all() {
    let backend = replying(|seen, number| match seen.head.get("if-none-match") {
        Some("\"a\"") => format!(
            "HTTP/1.1 304 Not Modified\r\ncache-control: max-age=60\r\nx-number: {number}\r\netag: \"a\"\r\n\r\n"
        ),
        _ => response("cache-control: max-age=0\r\netag: \"a\"\r\nx-number: 1\r\n", "body"),
    });
    let backend = backend.await;
    let gate = gate(&backend, "true");
    get(gate.address(), "/").await;
    let asked = get_with(&gate, "/", "If-None-Match: \"other\"\r\n").await;
    assert_eq!((asked.status(), asked.text(), asked.head.get("x-number")), (200, "body".into(), Some("2")));
    assert_eq!(status(&asked), "tollgate; fwd=stale; fwd-status=304; stored");
    assert_eq!(get(gate.address(), "/").await.head.get("x-number"), Some("2"));
    assert_eq!(backend.seen().len(), 2);
}

#[tokio::test]
async fn a_304_about_something_else_is_not_believed() {
    let backend = replying(|seen, _| match seen.head.has("if-none-match") {
        true => "HTTP/1.1 304 Not Modified\r\netag: \"other\"\r\n\r\n".into(),
        false => response("cache-control: max-age=0\r\netag: \"a\"\r\n", "body"),
    });
    let backend = backend.await;
    let gate = gate(&backend, "true");
    get(gate.address(), "/").await;
    assert_eq!(get(gate.address(), "/").await.text(), "body");
    assert_eq!(backend.seen().len(), 3);
}

#[tokio::test]
async fn a_client_can_refuse_what_is_stored_and_everything_else() {
    let backend = counting(FRESH).await;
    let gate = gate(&backend, "true");
    let only = get_with(&gate, "/", "Cache-Control: only-if-cached\r\n").await;
    assert_eq!(only.refusal(), (504, "not_cached".into()));
    get(gate.address(), "/").await;
    assert_eq!(get_with(&gate, "/", "Cache-Control: only-if-cached\r\n").await.text(), "1");
    assert_eq!(get_with(&gate, "/", "Cache-Control: no-store\r\n").await.text(), "2");
    assert_eq!(get(gate.address(), "/").await.text(), "1");
    assert_eq!(get_with(&gate, "/", "Cache-Control: no-cache\r\n").await.text(), "3");
    assert_eq!(get(gate.address(), "/").await.text(), "3");
    gate.counted("tollgate_cache_requests_total{route=\"app\",result=\"not_cached\"} 1").await;
}

#[tokio::test]
async fn what_changes_a_url_makes_it_void_whatever_route_it_takes() {
    let backend = replying(|seen, number| match seen.head.line.split(' ').next() {
        Some("POST") if seen.head.target() == "/fails" => "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".into(),
        Some("POST") => "HTTP/1.1 201 Created\r\nlocation: /named\r\ncontent-length: 0\r\n\r\n".to_owned(),
        _ => response(FRESH, &number.to_string()),
    });
    let backend = backend.await;
    let address = backend.address();
    let text = format!(
        "[[routes]]\nprefix = \"/\"\nmethods = [\"GET\"]\nupstream = \"http://{address}\"\ncache = true\n\
         [[routes]]\nname = \"writing\"\nprefix = \"/\"\nmethods = [\"POST\"]\nupstream = \"http://{address}\"\n"
    );
    let gate = Gate::start(&text);
    let numbers = async |gate: &Gate| {
        let mut all = Vec::new();
        for target in ["/own", "/named", "/fails", "/other"] {
            all.push(get(gate.address(), target).await.text());
        }
        all.join(" ")
    };
    assert_eq!(numbers(&gate).await, "1 2 3 4");
    for target in ["/own", "/fails"] {
        let written = send(&gate, "POST", target, "Content-Length: 0\r\n").await;
        assert!(!written.head.has("cache-status"), "the route that writes has no cache");
    }
    assert_eq!(numbers(&gate).await, "7 8 3 4");
}

#[tokio::test]
async fn a_head_brings_up_to_date_what_it_is_about_and_calls_stale_what_it_is_not() {
    let backend = replying(|seen, number| {
        let is_head = seen.head.line.starts_with("HEAD");
        let (age, tag) = if is_head { (60, if number > 2 { "\"b\"" } else { "\"a\"" }) } else { (0, "\"a\"") };
        let fields = format!("cache-control: max-age={age}\r\netag: {tag}\r\nx-number: {number}\r\n");
        if is_head {
            format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n{fields}\r\n")
        } else {
            response(&fields, "body")
        }
    });
    let backend = backend.await;
    let gate = gate(&backend, "true");
    get(gate.address(), "/").await;
    send(&gate, "HEAD", "/", "").await;
    let updated = get(gate.address(), "/").await;
    assert_eq!((updated.text(), updated.head.get("x-number")), ("body".into(), Some("2")));
    send(&gate, "HEAD", "/", "Cache-Control: no-cache\r\n").await;
    assert!(status(&get(gate.address(), "/").await).contains("fwd=stale"));
}

#[tokio::test]
async fn variants_are_kept_apart() {
    let backend = replying(|seen, _| {
        let language = seen.head.get("accept-language").unwrap_or("none").to_owned();
        response("cache-control: max-age=60\r\nvary: accept-language\r\n", &language)
    });
    let backend = backend.await;
    let gate = gate(&backend, "true");
    let of = async |language: &str| get_with(&gate, "/", &format!("Accept-Language: {language}\r\n")).await;
    assert_eq!(of("en").await.text(), "en");
    let other = of("de").await;
    assert_eq!((other.text(), status(&other)), ("de".into(), "tollgate; fwd=vary-miss; stored".into()));
    assert_eq!((of("en").await.text(), of("DE ").await.text()), ("en".into(), "de".into()));
    assert_eq!(backend.seen().len(), 2);
}

#[tokio::test]
async fn a_reload_keeps_what_was_stored_and_another_size_counts() {
    let backend = counting(FRESH).await;
    let text = |cache: &str, memory: &str| {
        let address = backend.address();
        format!(
            "[cache]\nmemory = \"{memory}\"\nmax_object = \"1KiB\"\n\
             [[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"http://{address}\"\n{cache}\n"
        )
    };
    let gate = Gate::start(&text("cache = true", "1MiB"));
    for number in 0..300 {
        get(gate.address(), &format!("/{number}")).await;
    }
    assert!(gate.reload(&text("cache = { ttl = \"5s\" }\ntimeout = \"9s\"", "1MiB")).await.is_ok());
    assert_eq!(get(gate.address(), "/0").await.text(), "1");
    assert!(gate.reload(&text("cache = true", "64KiB")).await.is_ok());
    let page = get(gate.admin(), "/api/v1/status").await.text();
    let state: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!(state["cache"]["memory"], 65_536);
    assert!(state["cache"]["bytes"].as_u64().unwrap() <= 65_536, "{state}");
    assert!(gate.reload(&text("", "64KiB")).await.is_ok());
    let plain = get(gate.address(), "/0").await;
    assert_eq!((plain.text(), plain.head.has("cache-status")), ("301".into(), false));
}
