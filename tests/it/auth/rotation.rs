//! Keys that change while requests come: no valid token is refused, and whoever makes up key ids costs the issuer nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Guarded;
use crate::support::issuer::Issuer;
use crate::support::tokens::Signer;
use crate::support::{Client, eventually};

const CLIENTS: usize = 4;
const ROTATIONS: usize = 10;

fn request(token: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {token}\r\n\r\n")
}

async fn guarded(issuer: &Issuer, cooldown: &str) -> Guarded {
    let auth = format!("jwks_url = '{}'\nallow_http = true\njwks_cooldown = '{cooldown}'\n", issuer.url());
    Guarded::with(tempfile::tempdir().unwrap(), &auth, "'main'").await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_valid_token_is_refused_while_keys_rotate() {
    let signers: Arc<Vec<Signer>> = Arc::new((0..=ROTATIONS).map(|at| Signer::es256(&format!("key-{at}"))).collect());
    let issuer = Issuer::of(&[&signers[0]]).await;
    let guarded = guarded(&issuer, "100ms").await;
    let began = Instant::now();
    let (current, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    // By client, the newest key of which a token has passed.
    let passed: Arc<Vec<AtomicUsize>> = Arc::new((0..CLIENTS).map(|_| AtomicUsize::new(usize::MAX)).collect());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (signers, current, stop, passed) = (signers.clone(), current.clone(), stop.clone(), passed.clone());
            let address = guarded.gate.address();
            tokio::spawn(async move {
                let mut connection = Client::connect(address).await;
                while !stop.load(Ordering::Relaxed) {
                    let key = current.load(Ordering::SeqCst);
                    let answer = connection.ask(request(&signers[key].good("a"))).await;
                    assert_eq!(answer.status(), 200, "key {key}: {}", answer.text());
                    passed[client].store(key, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for next in 1..=ROTATIONS {
        let all_at = |key: usize| {
            passed.iter().all(|at| at.load(Ordering::SeqCst) == key) || clients.iter().any(|c| c.is_finished())
        };
        eventually("tokens of the key", || all_at(next - 1)).await;
        // First the key, then tokens by it; the one before goes when nobody uses it any more.
        issuer.publish(&[&signers[next - 1], &signers[next]]);
        current.store(next, Ordering::SeqCst);
    }
    eventually("tokens of the last key", || {
        passed.iter().all(|at| at.load(Ordering::SeqCst) == ROTATIONS)
            || clients.iter().any(|client| client.is_finished())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let most = 2 + began.elapsed().as_millis() / 100;
    assert!(issuer.asked() as u128 <= most, "{} fetches, at most {most}", issuer.asked());
    assert!(issuer.asked() > ROTATIONS);
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_key_ids_do_not_reach_the_issuer() {
    const EACH: usize = 500;
    let cooldown = Duration::from_secs(30);
    let (signer, stranger) = (Signer::es256("known"), Arc::new(Signer::es256("")));
    let issuer = Issuer::of(&[&signer]).await;
    let guarded = guarded(&issuer, "30s").await;
    let good = request(&signer.good("a"));
    let mut friend = Client::connect(guarded.gate.address()).await;
    assert_eq!(friend.ask(&good).await.status(), 200);
    let began = Instant::now();
    let flood: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (stranger, address) = (stranger.clone(), guarded.gate.address());
            tokio::spawn(async move {
                let mut connection = Client::connect(address).await;
                for number in 0..EACH {
                    // Half of them are repeated.
                    let kid = if number % 2 == 0 { "again".to_owned() } else { format!("{:x}", fastrand::u128(..)) };
                    let claims = serde_json::json!({"exp": 4_000_000_000_u64});
                    let token = stranger.sign(&serde_json::json!({"alg": "ES256", "kid": kid}), &claims);
                    let answer = connection.ask(request(&token)).await;
                    assert_eq!(answer.refusal(), (401, "token_invalid".to_owned()));
                }
            })
        })
        .collect();
    while !flood.iter().all(tokio::task::JoinHandle::is_finished) {
        assert_eq!(friend.ask(&good).await.status(), 200);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for client in flood {
        client.await.unwrap();
    }
    let most = 2 + began.elapsed().as_secs() / cooldown.as_secs();
    assert!(issuer.asked() as u64 <= most, "{} fetches, at most {most}", issuer.asked());
    assert_eq!(guarded.counted("unknown_key").await, (CLIENTS * EACH) as u64);
    // The good token was verified once, and no bad one has pushed it out.
    assert_eq!(friend.ask(&good).await.status(), 200);
}
