//! A hundred thousand tokens whose key ids nobody knows: the issuer is asked once a cooldown at most, whoever has a good
//! token does not notice, and none of the others passes.

use std::time::Duration;

use serde_json::json;
use tollgate::base::clock;

use crate::support::issuer::Issuer;
use crate::support::steady::Steady;
use crate::support::tokens::{Signer, encode};
use crate::support::{Backend, Client, Gate, OK};

/// Tokens in all, however long that takes, and how many of them a second.
const TOKENS: u32 = 100_000;
const RATE: u32 = 4_000;
/// Clients that send them.
const CLIENTS: u32 = 8;
/// Requests a second with a good token.
const GOOD: u32 = 500;
/// Time between two rounds of asking the issuer.
const COOLDOWN: u64 = 5;
/// A p99 below this is the machine's own unrest.
const UNREST: Duration = Duration::from_millis(5);

/// A token of nobody: whoever does not know its key has no use for its signature.
fn stranger() -> String {
    let header = json!({"alg": "ES256", "kid": format!("{:032x}", fastrand::u128(..))});
    let claims = json!({"sub": "mallory", "exp": 4_000_000_000_u64});
    let signature: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(64).collect();
    format!("{}.{}.{}", encode(header.to_string()), encode(claims.to_string()), encode(signature))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a soak"]
async fn made_up_key_ids() {
    let signer = Signer::es256("known");
    let issuer = Issuer::of(&[&signer]).await;
    let backend = Backend::answering(OK).await;
    let auth = format!(
        "auth = 'main'\n[auth.main]\njwks_url = '{}'\nallow_http = true\njwks_cooldown = '{COOLDOWN}s'\n\
         token_from = ['query:t', 'header:authorization']\n",
        issuer.url()
    );
    let gate = Gate::before(&backend, &auth);
    let load = Steady::start(gate.address(), &format!("/?t={}", signer.good("alice")), 20, GOOD);
    let pause = super::duration().min(Duration::from_secs(20));
    tokio::time::sleep(pause).await;
    let calm = load.part();
    let (began, asked) = (clock::now(), issuer.asked());
    let senders: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(flood(gate.address(), TOKENS / CLIENTS))).collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let (took, shaken) = (began.elapsed(), load.part());
    let (fetches, most) = (issuer.asked() - asked, 1 + took.as_secs() / COOLDOWN);
    println!(
        "{TOKENS} tokens in {took:?}, {fetches} fetches of at most {most}; p99 of {} good requests {:?}, of {} before {:?}",
        shaken.times.len(),
        shaken.quantile(0.99),
        calm.times.len(),
        calm.quantile(0.99)
    );
    assert!(fetches as u64 <= most, "{fetches} fetches, at most {most}");
    assert_eq!((calm.bad, shaken.bad), (0, 0), "{:?} {:?}", calm.faults, shaken.faults);
    let limit = calm.quantile(0.99).max(UNREST) * 2;
    assert!(shaken.quantile(0.99) < limit, "{:?} against {:?}", shaken.quantile(0.99), calm.quantile(0.99));
    load.stop().await;
}

async fn flood(address: std::net::SocketAddr, tokens: u32) {
    let mut client = Client::connect(address).await;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * CLIENTS / RATE);
    for _ in 0..tokens {
        ticks.tick().await;
        let request = format!("GET / HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {}\r\n\r\n", stranger());
        assert_eq!(client.ask(request).await.status(), 401);
    }
}
