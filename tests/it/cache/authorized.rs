//! Responses to requests with credentials: shared only by a word of the origin, or apart for each user; and a hit is no way
//! around a token.

use aws_lc_rs::digest::{SHA256, digest};
use tempfile::TempDir;

use super::{gate, get_with, replying, response, status};
use crate::support::tokens::{Signer, jwks, now};
use crate::support::{Backend, Gate, get};

/// A backend that tells each user who it takes them for, under this `Cache-Control`.
async fn greeting(control: &'static str) -> Backend {
    replying(move |seen, number| {
        let user = seen.head.get("x-user").unwrap_or("nobody");
        response(&format!("cache-control: {control}\r\n"), &format!("{user} {number}"))
    })
    .await
}

/// A gateway whose route asks for tokens of this signer.
fn guarded(backend: &Backend, signer: &Signer, route: &str) -> (Gate, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, jwks(&[signer])).unwrap();
    let text = format!("{route}\n[auth.main]\njwks_file = {file:?}\nclaims_to_headers = {{ sub = \"x-user\" }}\n");
    (Gate::before(backend, &text), folder)
}

async fn bearer(gate: &Gate, token: &str) -> crate::support::client::Answer {
    get_with(gate, "/", &format!("Authorization: Bearer {token}\r\n")).await
}

#[tokio::test]
async fn without_a_word_of_the_origin_nothing_authorised_is_shared() {
    for (control, shared) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
    ] {
        let backend = greeting(control).await;
        let gate = gate(&backend, "true");
        get_with(&gate, "/", "Authorization: Basic YTpi\r\n").await;
        let other = get(gate.address(), "/").await;
        assert_eq!(other.text() == "nobody 1", shared, "{control}");
    }
}

#[tokio::test]
async fn what_the_gateway_has_verified_counts_as_authorised_though_the_token_goes_no_further() {
    let (backend, signer) = (greeting("max-age=60").await, Signer::es256("k"));
    let (gate, _folder) = guarded(&backend, &signer, "auth = { use = \"main\", optional = true }\ncache = true");
    assert_eq!(bearer(&gate, &signer.good("ann")).await.text(), "ann 1");
    assert_eq!(bearer(&gate, &signer.good("bob")).await.text(), "bob 2");
    assert_eq!(get(gate.address(), "/").await.text(), "nobody 3");
    assert!(!backend.seen()[0].head.has("authorization"));
}

#[tokio::test]
async fn each_user_has_their_own_and_nobody_without_a_token_has_any() {
    let (backend, signer) = (greeting("max-age=60").await, Signer::es256("k"));
    let (gate, _folder) = guarded(&backend, &signer, "auth = \"main\"\ncache = { vary_by = [\"subject\"] }");
    let (ann, bob) = (signer.good("ann"), signer.good("bob"));
    for (token, expected) in [(&ann, "ann 1"), (&bob, "bob 2"), (&ann, "ann 1"), (&bob, "bob 2")] {
        assert_eq!(bearer(&gate, token).await.text(), expected);
    }
    assert_eq!(bearer(&gate, &signer.good("ann")).await.text(), "ann 1", "another token of the same user");
    assert_eq!(get(gate.address(), "/").await.refusal(), (401, "token_missing".into()));
    let over = signer.token(&serde_json::json!({"sub": "ann", "exp": now() - 600}));
    assert_eq!(bearer(&gate, &over).await.refusal(), (401, "token_expired".into()));
    assert_eq!(bearer(&gate, &format!("{ann}x")).await.status(), 401);
    let last = bearer(&gate, &ann).await;
    assert_eq!((last.text(), status(&last)), ("ann 1".into(), "tollgate; hit".into()));
    assert_eq!(backend.seen().len(), 2);
}

#[tokio::test]
async fn tenants_share_and_those_without_one_do_not() {
    let (backend, signer) = (greeting("max-age=60").await, Signer::es256("k"));
    let (gate, _folder) = guarded(&backend, &signer, "auth = \"main\"\ncache = { vary_by = [\"claim:tenant\"] }");
    let token = |subject: &str, tenant: Option<&str>| {
        let mut claims = serde_json::json!({"sub": subject, "exp": now() + 600});
        if let Some(tenant) = tenant {
            claims["tenant"] = tenant.into();
        }
        signer.token(&claims)
    };
    assert_eq!(bearer(&gate, &token("ann", Some("acme"))).await.text(), "ann 1");
    assert_eq!(bearer(&gate, &token("bob", Some("acme"))).await.text(), "ann 1", "of the same tenant");
    assert_eq!(bearer(&gate, &token("cyd", Some("other"))).await.text(), "cyd 2");
    assert_eq!(bearer(&gate, &token("dan", None)).await.text(), "dan 3");
    assert_eq!(bearer(&gate, &token("eve", None)).await.text(), "eve 4", "nothing says that they may share");
}

#[tokio::test]
async fn a_limit_counts_hits() {
    let backend = greeting("max-age=60").await;
    let gate = Gate::before(&backend, "cache = true\ndeny_ips = [\"127.0.0.2\"]\n");
    get(gate.address(), "/").await;
    let from = |ip: [u8; 4]| async move {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(std::net::SocketAddr::from((ip, 0))).unwrap();
        socket
    };
    let stream = from([127, 0, 0, 2]).await.connect(gate.address()).await.unwrap();
    assert_eq!(crate::support::Client::over(stream).get("/").await.refusal(), (403, "ip_denied".into()));
}

/// A gateway whose route asks for the keys `key-ann` and `key-bob`, brought as these keys of `[auth.main]` say.
fn keyed(backend: &Backend, auth: &str, route: &str) -> (Gate, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.txt");
    let line = |user: &str| {
        let hash = digest(&SHA256, format!("key-{user}").as_bytes());
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{user} {hash}\n")
    };
    std::fs::write(&file, line("ann") + &line("bob")).unwrap();
    let text = format!("{route}\n[auth.main]\nkind = \"api_key\"\nkeys_file = {file:?}\n{auth}\n");
    (Gate::before(backend, &text), folder)
}

#[tokio::test]
async fn a_key_is_a_credential_wherever_it_is_brought() {
    for (from, target, fields) in [
        ("header:x-api-key", "/", "X-Api-Key: key-USER\r\n"),
        ("cookie:key", "/", "Cookie: key=key-USER\r\n"),
        ("query:key", "/?key=key-USER", ""),
    ] {
        for vary_by in ["", "vary_by = [\"subject\"]", "vary_by = [\"header:accept\"]"] {
            let backend = greeting("max-age=60").await;
            let auth = format!("from = \"{from}\"\nclaims_to_headers = {{ sub = \"x-user\" }}");
            let (gate, _folder) = keyed(&backend, &auth, &format!("auth = \"main\"\ncache = {{ {vary_by} }}"));
            for user in ["ann", "bob", "ann"] {
                let answer = get_with(&gate, &target.replace("USER", user), &fields.replace("USER", user)).await;
                assert!(answer.text().starts_with(user), "{from}, {vary_by}: {} for {user}", answer.text());
            }
        }
    }
}

#[tokio::test]
async fn whom_a_route_lets_go_on_unknown_is_not_taken_for_everybody() {
    // The upstream still judges keys itself, and the gateway only watches.
    let backend =
        replying(|seen, _| response("cache-control: max-age=60\r\n", seen.head.get("x-api-key").unwrap_or("nobody")))
            .await;
    let (gate, _folder) =
        keyed(&backend, "forward_token = true", "auth = { use = \"main\", mode = \"observe\" }\ncache = true");
    for key in ["key-eve", "key-mal", "key-ann", "key-eve"] {
        assert_eq!(get_with(&gate, "/", &format!("X-Api-Key: {key}\r\n")).await.text(), key);
    }
    assert_eq!(get(gate.address(), "/").await.text(), "nobody");
    assert_eq!(get_with(&gate, "/", "X-Api-Key: key-eve\r\n").await.text(), "key-eve");
}

#[tokio::test]
async fn a_field_tells_nobody_apart_whom_another_one_names() {
    let backend = greeting("max-age=60").await;
    let auth = "claims_to_headers = { sub = \"x-user\" }";
    let (gate, _folder) = keyed(&backend, auth, "auth = \"main\"\ncache = { vary_by = [\"header:authorization\"] }");
    for (user, expected) in [("ann", "ann 1"), ("bob", "bob 2")] {
        let fields = format!("Authorization: Basic c2FtZTo=\r\nX-Api-Key: key-{user}\r\n");
        assert_eq!(get_with(&gate, "/", &fields).await.text(), expected);
    }
}
