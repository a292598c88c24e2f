//! Several issuers on one route: a token is judged by the rules of the one that it is from, and by no other's keys.

use serde_json::json;

use crate::support::tokens::{Signer, jwks, now};
use crate::support::{Backend, Gate, OK, ask};

fn token(signer: &Signer, issuer: &str) -> String {
    signer.token(&json!({"iss": issuer, "sub": "a", "exp": now() + 60}))
}

#[tokio::test]
async fn the_issuer_chooses_and_then_the_key() {
    // Both issuers call their keys by the same name.
    let (one, two, open) = (Signer::es256("k"), Signer::es256("k"), Signer::es256("open"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, signer: &Signer| {
        let path = folder.path().join(name);
        std::fs::write(&path, jwks(&[signer])).unwrap();
        path
    };
    let (of_one, of_two, of_open, of_more) =
        (file("1", &one), file("2", &two), file("3", &open), file("4", &Signer::es256("more")));
    let backend = Backend::answering(OK).await;
    let gate = Gate::before(
        &backend,
        &format!(
            "auth = ['one', 'two', 'more', 'open']\n\
             [auth.one]\nissuer = 'https://one/'\njwks_file = {of_one:?}\nclaims_to_headers = {{ iss = 'x-from' }}\n\
             [auth.two]\nissuer = 'https://two/'\njwks_file = {of_two:?}\nclaims_to_headers = {{ sub = 'x-from' }}\n\
             [auth.more]\njwks_file = {of_more:?}\n\
             [auth.open]\njwks_file = {of_open:?}\n"
        ),
    );
    let bearer = async |token: String| {
        let request = format!("GET / HTTP/1.1\r\nHost: gate\r\nX-From: me\r\nAuthorization: Bearer {token}\r\n\r\n");
        ask(gate.address(), request).await.status()
    };
    let from = || backend.seen().pop().unwrap().head.get("x-from").map(str::to_owned);
    // The second time each is known.
    for _ in 0..2 {
        assert_eq!((bearer(token(&one, "https://one/")).await, from().as_deref()), (200, Some("https://one/")));
        assert_eq!((bearer(token(&two, "https://two/")).await, from().as_deref()), (200, Some("a")));
        assert_eq!((bearer(token(&open, "https://anybody/")).await, from()), (200, None));
    }
    let passed = backend.seen().len();
    for (signer, issuer) in
        [(&one, "https://two/"), (&two, "https://one/"), (&one, "https://three/"), (&open, "https://one/")]
    {
        assert_eq!(bearer(token(signer, issuer)).await, 401, "{issuer}");
    }
    assert_eq!(backend.seen().len(), passed);
    for line in [
        "tollgate_auth_total{auth=\"one\",result=\"ok\"} 2",
        "tollgate_auth_total{auth=\"two\",result=\"ok\"} 2",
        "tollgate_auth_total{auth=\"open\",result=\"ok\"} 2",
        "tollgate_auth_total{auth=\"two\",result=\"signature\"} 1",
        "tollgate_auth_total{auth=\"more\",result=\"unknown_key\"} 1",
    ] {
        gate.counted(line).await;
    }
}
