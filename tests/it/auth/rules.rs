//! What a route asks beyond a valid token, and what its neighbours may then not do.

use serde_json::json;

use super::Guarded;
use crate::support::tokens::{Signer, now};
use crate::support::{Backend, Gate, OK, ask, get};

#[tokio::test]
async fn no_parameter_of_a_path_leads_around_who_is_asked() {
    let signer = Signer::es256("k");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    std::fs::write(&file, &signer.pem).unwrap();
    let backend = Backend::answering(OK).await;
    let address = backend.address();
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = '/'\nupstream = 'http://{address}'\n\
         [[routes]]\nprefix = '/admin'\nupstream = 'http://{address}'\nauth = 'main'\n\
         [[routes]]\nprefix = '/'\nhosts = ['open.test']\nupstream = 'http://{address}'\n\
         [auth.main]\npublic_key_file = {file:?}\n"
    ));
    let get = async |host: &str, target: &str| {
        ask(gate.address(), format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
    };
    for target in [
        "/admin;x",
        "/admin;x/users",
        "/admin;jsessionid=1/users",
        "/%61dmin;x",
        "/admin%3bx/users",
        "/;a/admin",
        "//admin;x",
    ] {
        assert_eq!(get("gate", target).await.refusal(), (400, "bad_request".to_owned()), "{target}");
        assert_eq!(get("open.test", target).await.refusal(), (400, "bad_request".to_owned()), "{target}");
    }
    assert!(backend.seen().is_empty());
    assert_eq!(get("gate", "/admin/users;x").await.status(), 401);
    for target in ["/shop;x", "/shop;x/a", "/administrator;x", "/a;admin"] {
        assert_eq!(get("gate", target).await.status(), 200, "{target}");
    }
}

#[tokio::test]
async fn scopes_and_claims_are_asked_of_every_request() {
    let signer = Signer::es256("k");
    let route = "{ use = 'main', scopes = ['orders:read', 'orders:write'], \
                 claims = { tenant = 'acme', 'realm.roles' = ['admin', 'ops'], level = 3, 'https://x.example/ok' = true } }";
    let guarded = Guarded::by(&[&signer], "", route).await;
    let claims = |changes: serde_json::Value| {
        let mut claims = json!({
            "exp": now() + 60, "scope": "orders:write orders:read", "tenant": "acme", "level": 3,
            "realm": {"roles": ["x", "ops"]}, "https://x.example/ok": true,
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        signer.token(&claims)
    };
    for passing in
        [json!({}), json!({"scope": "", "scp": ["orders:read", "orders:write"]}), json!({"tenant": ["acme"]})]
    {
        assert_eq!(guarded.bearer(&claims(passing.clone())).await.status(), 200, "{passing}");
    }
    for (refused, named) in [
        (json!({"scope": "orders:read"}), true),
        (json!({"scope": "orders:readx orders:write"}), true),
        (json!({"scope": null}), true),
        (json!({"tenant": "ACME"}), false),
        (json!({"tenant": null}), false),
        (json!({"level": "3"}), false),
        (json!({"level": 3.5}), false),
        (json!({"realm": {"roles": "admins"}}), false),
        (json!({"realm": "ops"}), false),
        (json!({"https://x.example/ok": "true"}), false),
    ] {
        let token = claims(refused.clone());
        for _ in 0..2 {
            let answer = guarded.bearer(&token).await;
            assert_eq!(answer.refusal(), (403, "insufficient_scope".to_owned()), "{refused}");
            let challenge = answer.head.get("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm=\"tollgate\", error=\"insufficient_scope\""), "{challenge}");
            assert_eq!(challenge.ends_with(", scope=\"orders:read orders:write\""), named, "{challenge}");
        }
    }
    assert_eq!((guarded.counted("insufficient_scope").await, guarded.counted("insufficient_claims").await), (6, 14));
}

#[tokio::test]
async fn an_optional_token_may_be_absent_but_not_bad() {
    let signer = Signer::es256("k");
    let guarded = Guarded::by(&[&signer], "", "{ use = 'main', optional = true }").await;
    assert_eq!(guarded.ask("").await.status(), 200);
    assert_eq!(guarded.ask("Authorization: Basic dTpw\r\n").await.status(), 200);
    assert_eq!(guarded.backend.seen()[1].head.get("authorization"), Some("Basic dTpw"));
    assert_eq!(guarded.bearer("bad").await.refusal(), (401, "token_invalid".to_owned()));
    assert_eq!(guarded.bearer(&signer.good("a")).await.status(), 200);
}

#[tokio::test]
async fn what_is_observed_is_counted_and_goes_on() {
    let signer = Signer::es256("k");
    let guarded = Guarded::by(&[&signer], "", "{ use = 'main', mode = 'observe', scopes = ['x'] }").await;
    assert_eq!(guarded.bearer("bad").await.status(), 200);
    assert_eq!(guarded.ask("").await.status(), 200);
    assert_eq!(guarded.bearer(&signer.good("a")).await.status(), 200);
    for line in [
        "tollgate_refusals_total{route=\"app\",code=\"token_invalid\",mode=\"observe\"} 1",
        "tollgate_refusals_total{route=\"app\",code=\"token_missing\",mode=\"observe\"} 1",
        "tollgate_refusals_total{route=\"app\",code=\"insufficient_scope\",mode=\"observe\"} 1",
        "tollgate_auth_total{auth=\"main\",result=\"malformed\"} 1",
    ] {
        guarded.gate.counted(line).await;
    }
    let log = guarded.file("access.log");
    let cause = "\"cause\":\"auth main: no credential (observed)\"";
    let seen = async || std::fs::read_to_string(&log).unwrap().contains(cause);
    crate::support::eventually_async(cause, seen).await;
}

#[tokio::test]
async fn no_spelling_of_a_path_is_a_way_around() {
    let signer = Signer::es256("k");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    std::fs::write(&file, &signer.pem).unwrap();
    let backend = Backend::answering(OK).await;
    let address = backend.address();
    let gate = Gate::start(&format!(
        "[[routes]]\nprefix = '/'\nupstream = 'http://{address}'\n\
         [[routes]]\nprefix = '/'\nhosts = ['other.example']\nencoded_slashes = 'allow'\nupstream = 'http://{address}'\n\
         [[routes]]\nprefix = '/a/private'\nupstream = 'http://{address}'\nauth = 'main'\n\
         [auth.main]\npublic_key_file = {file:?}\n"
    ));
    for path in [
        "/a/private",
        "/a/private/",
        "/a//private/x",
        "/a/b/../private",
        "/a/./private",
        "/%61/%70rivate",
        "/a/private/.",
    ] {
        assert_eq!(get(gate.address(), path).await.status(), 401, "{path}");
    }
    for path in
        ["/a%2Fprivate", "/a%2fprivate/x", "/a%5Cprivate", "/a/b/..%2Fprivate", "/a%252Fprivate", "/x%2F..%2Fa/private"]
    {
        assert_eq!(get(gate.address(), path).await.refusal(), (400, "bad_request".to_owned()), "{path}");
    }
    assert!(backend.seen().is_empty());
    for path in ["/", "/a", "/a/privately", "/b"] {
        assert_eq!(get(gate.address(), path).await.status(), 200, "{path}");
    }
}
