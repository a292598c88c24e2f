//! API keys: known by their hashes wherever they are brought, told to the upstream by their names, and nobody else's word
//! for either.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use super::{Guarded, replace};
use crate::support::tokens::{Signer, jwks};
use crate::support::{Client2, eventually_async};

const TOLD: &str = "claims_to_headers = { sub = 'x-consumer', plan = 'x-plan' }\n";

/// A line of the file.
fn line(name: &str, key: &str, plan: &str) -> String {
    let mut line = format!("{name} ");
    for byte in digest(&SHA256, key.as_bytes()).as_ref() {
        write!(line, "{byte:02x}").unwrap();
    }
    line + " " + plan + "\n"
}

/// A route that asks for keys of a file with these lines.
async fn keys(lines: &str, auth: &str, route: &str) -> Guarded {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.txt");
    std::fs::write(&file, lines).unwrap();
    Guarded::with(folder, &format!("kind = 'api_key'\nkeys_file = {file:?}\n{auth}"), route).await
}

fn two() -> String {
    format!("# ours\n\n{}{}", line("alice", "key-1", "gold"), line("bob", "key/2+=", ""))
}

#[tokio::test]
async fn keys_are_known_wherever_they_are() {
    for (from, good, wrong) in [
        ("header:x-api-key", ("/a?x=1", "X-Api-Key: key-1\r\n"), ("/a?x=1", "X-Api-Key: key-2\r\n")),
        (
            "header:authorization",
            ("/a?x=1", "Authorization: Bearer key-1\r\n"),
            ("/a?x=1", "Authorization: Basic a2V5LTE=\r\n"),
        ),
        ("cookie:key", ("/a?x=1", "Cookie: key=key-1\r\n"), ("/a?x=1", "Cookie: kex=key-1\r\n")),
        ("query:key", ("/a?key=key-1&x=1", ""), ("/a?key=KEY-1&x=1", "")),
    ] {
        let guarded = keys(&two(), &format!("from = '{from}'\n{TOLD}"), "'main'").await;
        assert_eq!(guarded.get(good.0, good.1).await.status(), 200, "{from}");
        let seen = guarded.backend.only().head;
        assert_eq!(seen.target(), "/a?x=1");
        assert_eq!((seen.get("x-consumer"), seen.get("x-plan")), (Some("alice"), Some("gold")), "{from}");
        assert!(!seen.has("x-api-key") && !seen.has("authorization") && !seen.has("cookie"), "{seen:?}");
        for (target, fields) in [wrong, ("/a", "")] {
            let answer = guarded.get(target, fields).await;
            assert_eq!(answer.refusal(), (401, "credentials_invalid".to_owned()), "{from} {target} {fields}");
            assert_eq!(answer.head.all("www-authenticate"), ["ApiKey realm=\"tollgate\""]);
        }
        assert_eq!(guarded.backend.seen().len(), 1);
    }
    let guarded = keys(&two(), "from = 'query:key'\n", "'main'").await;
    assert_eq!(guarded.get("/?key=key%2F2%2B%3D", "").await.status(), 200, "a key is written as any value is");
    assert_eq!(guarded.get("/?key=key-1&key=key-1", "").await.status(), 401);
}

#[tokio::test]
async fn nobody_says_himself_who_he_is() {
    let spoofed = "X-Consumer: root\r\nx_consumer: root\r\nX-Plan: gold\r\nX_Plan: gold\r\nConnection: x-consumer\r\n";
    for (route, fields, expected) in [
        ("'main'", "X-Api-Key: key/2+=\r\n", Some("bob")),
        ("{ use = 'main', optional = true }", "", None),
        ("{ use = 'main', mode = 'observe' }", "X-Api-Key: nobody's\r\n", None),
        ("{ use = 'main', mode = 'observe' }", "", None),
    ] {
        let guarded = keys(&two(), TOLD, route).await;
        assert_eq!(guarded.ask(&format!("{spoofed}{fields}")).await.status(), 200, "{route}");
        let seen = guarded.backend.only().head;
        assert_eq!(seen.get("x-consumer"), expected, "{route}");
        assert!(
            !seen.has("x_consumer") && !seen.has("x-plan") && !seen.has("x_plan") && !seen.has("x-api-key"),
            "{seen:?}"
        );
    }
    let guarded = keys(&two(), TOLD, "{ use = 'main', optional = true }").await;
    assert_eq!(
        guarded.ask("X-Api-Key: other\r\n").await.status(),
        401,
        "optional is not for those who bring a bad one"
    );
    assert_eq!(guarded.ask("X-Api-Key: key-1\r\nX-Api-Key: key-1\r\n").await.status(), 401);
}

#[tokio::test]
async fn a_name_is_the_subject_and_a_plan_is_a_claim() {
    let guarded =
        keys(&two(), "forward_token = true\n", "{ use = 'main', claims = { plan = ['gold', 'silver'] } }").await;
    let answer = guarded.ask("X-Api-Key: key-1\r\n").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(guarded.backend.only().head.get("x-api-key"), Some("key-1"), "forward_token");
    let line = guarded.logged(answer.head.get("x-request-id").unwrap()).await;
    assert_eq!((&line["auth"], &line["subject"]), (&"main".into(), &"alice".into()), "{line}");
    let refused = guarded.ask("X-Api-Key: key/2+=\r\n").await;
    assert_eq!(refused.refusal(), (403, "insufficient_scope".to_owned()));
    for (result, count) in [("ok", 1), ("insufficient_claims", 1), ("credentials", 0)] {
        assert_eq!(guarded.counted(result).await, count, "{result}");
    }
    assert!(!guarded.gate.metrics().await.contains("result=\"signature\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_counts_while_it_changes() {
    let guarded = keys(&two(), "", "'main'").await;
    let file = guarded.file("keys.txt");
    let status = async |key: &str| guarded.ask(&format!("X-Api-Key: {key}\r\n")).await.status();
    assert_eq!((status("key-1").await, status("new").await), (200, 401));
    replace(&file, &(two() + &line("carol", "new", "")));
    eventually_async("the new key", async || status("new").await == 200).await;
    // One bad line, and the last good list stays: whole.
    replace(&file, &format!("{}eve not-a-hash\n", line("dave", "newer", "")));
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!((status("key-1").await, status("new").await, status("newer").await), (200, 200, 401));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(status("new").await, 200);
    replace(&file, &line("dave", "newer", ""));
    eventually_async("the newer key", async || status("newer").await == 200).await;
    assert_eq!((status("key-1").await, status("new").await), (401, 401));
}

#[tokio::test]
async fn tokens_keys_and_passwords_on_one_route_are_told_apart() {
    let signer = Signer::es256("k");
    let folder = tempfile::tempdir().unwrap();
    let (of_tokens, of_keys, of_users) =
        (folder.path().join("jwks.json"), folder.path().join("keys.txt"), folder.path().join("users"));
    std::fs::write(&of_tokens, jwks(&[&signer])).unwrap();
    std::fs::write(&of_keys, two()).unwrap();
    std::fs::write(&of_users, format!("dora:{}\n", bcrypt::hash_with_salt("pw", 4, [1; 16]).unwrap())).unwrap();
    let told = "claims_to_headers = { sub = 'x-user' }\n";
    let auth = format!(
        "jwks_file = {of_tokens:?}\n{told}[auth.keys]\nkind = 'api_key'\nkeys_file = {of_keys:?}\n{told}\
         [auth.users]\nkind = 'basic'\nusers_file = {of_users:?}\n{told}"
    );
    let guarded = Guarded::with(folder, &auth, "['main', 'keys', 'users']").await;
    let bearer = format!("Authorization: Bearer {}\r\n", signer.good("carl"));
    for (fields, who) in [
        (bearer.as_str(), "carl"),
        ("X-Api-Key: key-1\r\n", "alice"),
        ("Authorization: Basic ZG9yYTpwdw==\r\n", "dora"),
        ("X-Api-Key: key-1\r\nAuthorization: Basic ZG9yYTp4\r\n", "alice"),
    ] {
        assert_eq!(guarded.ask(&format!("X-User: root\r\n{fields}")).await.status(), 200, "{fields}");
        let seen = guarded.backend.seen().pop().unwrap().head;
        assert_eq!(seen.all("x-user"), [who]);
        assert!(!seen.has("authorization") && !seen.has("x-api-key"), "{seen:?}");
    }
    let passed = guarded.backend.seen().len();
    for (fields, code) in [
        ("Authorization: Bearer a.b.c\r\nX-Api-Key: key-1\r\n", "token_invalid"),
        ("X-Api-Key: other\r\nAuthorization: Basic ZG9yYTpwdw==\r\n", "credentials_invalid"),
        ("Authorization: Basic ZG9yYTp4\r\n", "credentials_invalid"),
        ("", "token_missing"),
    ] {
        let answer = guarded.ask(fields).await;
        assert_eq!(answer.refusal(), (401, code.to_owned()), "{fields}");
        assert_eq!(answer.head.all("www-authenticate").len(), if fields.is_empty() { 3 } else { 1 });
    }
    assert_eq!(guarded.backend.seen().len(), passed);
}

#[tokio::test]
async fn who_asks_over_http_2_is_found_out_likewise() {
    let signer = Signer::es256("k");
    let guarded = Guarded::by(&[&signer], "claims_to_headers = { sub = 'x-user' }\n", "'main'").await;
    let mut client = Client2::<Full<Bytes>>::connect(guarded.gate.address()).await;
    let token = signer.good("alice");
    for (value, status) in [(Some(&token), 200), (Some(&token), 200), (Some(&"a.b.c".to_owned()), 401), (None, 401)] {
        let mut request = Request::get("http://gate/").header("x-user", "root").header("x_user", "root");
        if let Some(value) = value {
            request = request.header("authorization", format!("Bearer {value}"));
        }
        let answer = client.send(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers().contains_key("www-authenticate"), status == 401);
    }
    let seen = guarded.backend.seen();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert_eq!(request.head.all("x-user"), ["alice"]);
        assert!(!request.head.has("x_user") && !request.head.has("authorization"));
    }
    let keys = keys(&two(), "from = 'cookie:key'\n", "'main'").await;
    let mut client = Client2::<Full<Bytes>>::connect(keys.gate.address()).await;
    let request =
        Request::get("http://gate/").header("cookie", "a=1").header("cookie", "key=key-1").header("cookie", "b=2");
    assert_eq!(client.send(request.body(Full::default()).unwrap()).await.unwrap().status(), 200);
    assert_eq!(keys.backend.only().head.all("cookie"), ["a=1; b=2"]);
}
