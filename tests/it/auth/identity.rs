//! What the upstream is told of who asks: it never comes from the client, in no mode, by no spelling and by no detour; and
//! the token itself stays here.

use serde_json::json;

use super::Guarded;
use crate::support::tokens::{Signer, now};
use crate::support::{Backend, Client, Gate, OK, ask};

const MAPPED: &str = "claims_to_headers = { sub = 'x-user-id', 'realm.roles' = 'x-roles', level = 'x_level' }\n";

/// What a client may try to say.
const SPOOFED: &str = "X-User-Id: admin\r\nx-user-id: root\r\nX_User_Id: admin\r\nX-Roles: admin\r\nx_roles: admin\r\n\
                       X_Level: 9\r\nX-Level: 9\r\nConnection: x-user-id, X-Roles, x_level\r\n";

fn named(guarded: &Guarded) -> Vec<(String, String)> {
    let head = guarded.backend.seen().pop().unwrap().head;
    let plain = |name: &str| name.replace('_', "-");
    let names: Vec<&str> = head.names();
    let ours = names.into_iter().filter(|name| ["x-user-id", "x-roles", "x-level"].contains(&&*plain(name)));
    ours.map(|name| (name.to_owned(), head.get(name).unwrap().to_owned())).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn claims_are_told_and_nothing_else() {
    let signer = Signer::es256("k");
    let guarded = Guarded::by(&[&signer], MAPPED, "'main'").await;
    let full = json!({"sub": "Zoë, x", "realm": {"roles": ["a", "b,c"]}, "level": 3, "exp": now() + 60});
    let bare = json!({"exp": now() + 60, "realm": "admin", "level": null});
    for (claims, expected) in [
        (&full, pairs(&[("x-user-id", "Zo%C3%AB%2C x"), ("x-roles", "a,b%2Cc"), ("x_level", "3")])),
        (&bare, pairs(&[])),
    ] {
        let token = signer.token(claims);
        // The second time the token is known.
        for _ in 0..2 {
            let answer = guarded.ask(&format!("{SPOOFED}Authorization: Bearer {token}\r\n")).await;
            assert_eq!(answer.status(), 200);
            let (mut found, mut expected) = (named(&guarded), expected.clone());
            found.sort();
            expected.sort();
            assert_eq!(found, expected);
        }
    }
}

#[tokio::test]
async fn nobody_is_nobody_in_every_mode() {
    let signer = Signer::es256("k");
    let expired = signer.token(&json!({"sub": "alice", "exp": 1}));
    for (route, token, cause) in [
        ("{ use = 'main', optional = true }", "", "no token"),
        ("{ use = 'main', mode = 'observe' }", "", "no token, observed"),
        ("{ use = 'main', mode = 'observe' }", expired.as_str(), "an expired token, observed"),
        ("{ use = 'main', mode = 'observe', scopes = ['x'] }", &signer.good("alice"), "no scope, observed"),
    ] {
        let guarded = Guarded::by(&[&signer], MAPPED, route).await;
        let field = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        assert_eq!(guarded.ask(&format!("{SPOOFED}{field}")).await.status(), 200, "{cause}");
        assert_eq!(named(&guarded), [], "{cause}");
        assert!(!guarded.backend.only().head.has("authorization"), "{cause}");
    }
}

#[tokio::test]
async fn routes_that_ask_nobody_believe_nobody() {
    let signer = Signer::es256("k");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    std::fs::write(&file, &signer.pem).unwrap();
    let backend = Backend::answering(OK).await;
    let address = backend.address();
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = '/'\nupstream = 'http://{address}'\n\
         [[routes]]\nprefix = '/private'\nupstream = 'http://{address}'\nauth = 'main'\n\
         [auth.main]\npublic_key_file = {file:?}\n{MAPPED}"
    ));
    let request = format!("GET / HTTP/1.1\r\nHost: gate\r\nX-Other: 1\r\n{SPOOFED}\r\n");
    assert_eq!(ask(gate.address(), request).await.status(), 200);
    let guarded = Guarded { gate, backend, folder };
    assert_eq!(named(&guarded), []);
    assert_eq!(guarded.backend.only().head.get("x-other"), Some("1"));
}

#[tokio::test]
async fn trailers_do_not_say_who_asks() {
    let signer = Signer::es256("k");
    let guarded = Guarded::by(&[&signer], MAPPED, "'main'").await;
    let token = signer.good("alice");
    let request = format!(
        "POST / HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\
         Trailer: x-user-id, x_user_id, checksum\r\n\r\n2\r\nhi\r\n0\r\nx-user-id: admin\r\nx_user_id: admin\r\n\
         checksum: 1\r\n\r\n"
    );
    let mut client = Client::connect(guarded.gate.address()).await;
    assert_eq!(client.ask(request).await.status(), 200);
    let seen = guarded.backend.only();
    assert_eq!(seen.content.trailers.names(), ["checksum"]);
    assert_eq!(seen.head.get("x-user-id"), Some("alice"));
}

#[tokio::test]
async fn the_token_stays_here_wherever_it_was() {
    let signer = Signer::es256("k");
    let places = "token_from = ['header:x-token', 'cookie:jwt', 'query:access_token', 'header:authorization']\n";
    let guarded = Guarded::by(&[&signer], places, "'main'").await;
    let token = signer.good("alice");
    for (target, fields) in [
        ("/a?x=1".to_owned(), format!("X-Token: {token}\r\nCookie: a=1\r\n")),
        ("/a?x=1".to_owned(), format!("Cookie: jwt={token}; a=1\r\n")),
        (format!("/a?access_token={token}&x=1"), "Cookie: a=1\r\n".to_owned()),
        (format!("/a?x=1&%61ccess_token={token}"), "Cookie: a=1\r\n".to_owned()),
        ("/a?x=1".to_owned(), format!("Cookie: a=1\r\nAuthorization: bearer {token}\r\n")),
    ] {
        assert_eq!(guarded.get(&target, &fields).await.status(), 200, "{target} {fields}");
        let head = guarded.backend.seen().pop().unwrap().head;
        assert_eq!(head.target(), "/a?x=1");
        assert_eq!(head.get("cookie"), Some("a=1"));
        assert!(!head.has("authorization") && !head.has("x-token"), "{head:?}");
    }
    let both = format!("/?access_token={token}&access_token={token}");
    assert_eq!(guarded.get(&both, "").await.refusal(), (401, "token_invalid".to_owned()));
    let log = std::fs::read_to_string(guarded.file("access.log")).unwrap();
    assert!(!log.contains(&token), "{log}");
}

#[tokio::test]
async fn the_token_goes_on_where_that_is_asked_for() {
    let signer = Signer::es256("k");
    let auth = "forward_token = true\ntoken_from = ['header:authorization', 'query:t']\n";
    let guarded = Guarded::by(&[&signer], auth, "'main'").await;
    let token = signer.good("alice");
    assert_eq!(guarded.bearer(&token).await.status(), 200);
    assert_eq!(guarded.backend.only().head.get("authorization"), Some(&*format!("Bearer {token}")));
    assert_eq!(guarded.get(&format!("/?t={token}"), "").await.status(), 200);
    assert_eq!(guarded.backend.seen()[1].head.target(), format!("/?t={token}"));
}
