//! Keys of issuers over reloads: those whose policy stays are kept, and the issuer hears nothing of it; those that nothing
//! names any more are fetched no more.

use std::time::Duration;

use super::{fixed, status};
use crate::support::issuer::{Issuer, Manner};
use crate::support::tokens::Signer;
use crate::support::{Backend, Client, Gate, OK, ask, eventually, eventually_async};

/// A gateway whose only route asks for tokens of this issuer; with further keys of the route and of the policy.
fn guarded(backend: &Backend, issuer: &Issuer, route: &str, auth: &str) -> String {
    let app = fixed(&[backend.address()], "");
    let url = issuer.url();
    format!("{app}auth = 'main'\n{route}[auth.main]\njwks_url = '{url}'\nallow_http = true\n{auth}")
}

fn request(token: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {token}\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_whose_policy_stays_are_kept_and_others_are_fetched() {
    let (signer, other) = (Signer::es256("one"), Signer::es256("two"));
    let (backend, issuer, successor) =
        (Backend::answering(OK).await, Issuer::of(&[&signer]).await, Issuer::of(&[&other]).await);
    let gate = Gate::start(&guarded(&backend, &issuer, "", ""));
    let (old, new) = (request(&signer.good("a")), request(&other.good("a")));
    let mut client = Client::connect(gate.address()).await;
    assert_eq!(client.ask(&old).await.status(), 200);
    assert_eq!(issuer.asked(), 1);
    // Without its keys the gateway could now let nobody pass.
    issuer.now(Manner::Dead);
    for timeout in 20..30 {
        let verdict = gate.reload(&guarded(&backend, &issuer, &format!("timeout = '{timeout}s'\n"), "")).await;
        let told = serde_json::to_value(&*verdict).unwrap();
        assert_eq!((&told["routes"]["changed"][0], &told["auth"]), (&"app".into(), &serde_json::json!({})), "{told}");
        assert_eq!(client.ask(&old).await.status(), 200);
        // Not verified before, so that it needs the keys themselves.
        assert_eq!(ask(gate.address(), request(&signer.good(&format!("a-{timeout}")))).await.status(), 200);
    }
    // What is asked of tokens is no matter of their keys.
    let stricter = guarded(&backend, &issuer, "", "audience = ['other']\n");
    let told = serde_json::to_value(&*gate.reload(&stricter).await).unwrap();
    assert_eq!(told["auth"], serde_json::json!({"changed": ["main"]}), "{told}");
    assert_eq!(client.ask(&old).await.refusal(), (401, "token_invalid".to_owned()), "it was verified by other rules");
    assert_eq!(issuer.asked(), 1);
    assert!(gate.reload(&guarded(&backend, &successor, "", "")).await.is_ok());
    assert_eq!(client.ask(&new).await.status(), 200);
    assert_eq!(client.ask(&old).await.refusal(), (401, "token_invalid".to_owned()), "its key is gone");
    assert_eq!((issuer.asked(), status(&gate).await["keys"][0]["ids"].clone()), (1, serde_json::json!(["two"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_nothing_names_any_more_are_not_fetched() {
    let signer = Signer::es256("one");
    let (backend, issuer) = (Backend::answering(OK).await, Issuer::of(&[&signer]).await);
    let gate = Gate::start(&guarded(&backend, &issuer, "", "jwks_refresh = '100ms'\n"));
    assert_eq!(ask(gate.address(), request(&signer.good("a"))).await.status(), 200);
    eventually("they are fetched again and again", || issuer.asked() > 3).await;
    assert!(gate.reload(&fixed(&[backend.address()], "")).await.is_ok());
    assert_eq!(ask(gate.address(), request("none")).await.status(), 200, "nobody is asked any more");
    eventually_async("the issuer is left alone", async || {
        let before = issuer.asked();
        tokio::time::sleep(Duration::from_secs(1)).await;
        issuer.asked() == before
    })
    .await;
}
