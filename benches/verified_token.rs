//! What it costs to know a token that was verified before, and to verify one that was not: `cargo bench --bench
//! verified_token`. Prints nanoseconds; each figure is the least of ten rounds, which hardly depends on what else runs.
#![allow(clippy::print_stdout, reason = "it prints what it measures")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate::base::clock;
use tollgate::lab::issuer::algorithm::Algorithm;
use tollgate::lab::issuer::key::Key;
use tollgate::lab::issuer::keyring::Signer;
use tollgate::lab::issuer::order::{Moment as Until, Order};
use tollgate::lab::issuer::server::{Issuer, Profile};
use tollgate::layers::auth::jws::Jws;
use tollgate::layers::auth::keys::{Keys, Origin};
use tollgate::layers::auth::keyset::KeySets;
use tollgate::layers::auth::policy::{JwtPolicy, KeySource};
use tollgate::layers::auth::provider::{Look, Moment, Provider, Tools};
use tollgate::layers::auth::verify::{Rules, verify};
use tollgate::telemetry::recorder::Recorder;

const TOKENS: usize = 64;
const ROUNDS: usize = 10;
const HITS: usize = 200_000;
const MISSES: usize = 640;

/// Tokens of a usual size, and the key set that verifies them.
fn tokens(algorithm: Algorithm) -> (Vec<String>, String) {
    let key = Key::generate(algorithm, 2048).unwrap();
    let signer = Signer::new(key, Some(algorithm)).unwrap();
    let jwks = json!({"keys": [signer.public().unwrap()]}).to_string();
    let hour = Duration::from_secs(3600);
    let profile = Profile { issuer: "https://login.example.com/".to_owned(), max_age: hour, keep: hour };
    let issuer = Issuer::new(profile, signer);
    let token = |number: usize| {
        let order = Order {
            subject: Some(format!("user-{number:04}")),
            audience: vec!["orders".to_owned()],
            scope: Some("read write".to_owned()),
            expires: Some(Until::FromNow(3600)),
            ..Order::default()
        };
        issuer.token(&order).unwrap()
    };
    ((0..TOKENS).map(token).collect(), jwks)
}

/// Nanoseconds for one of `count` calls, at best.
fn best(count: usize, mut call: impl FnMut(usize)) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        #[expect(clippy::disallowed_methods, reason = "it measures, and passes no time on")]
        let began = Instant::now();
        (0..count).for_each(&mut call);
        best = best.min(began.elapsed().as_nanos() as f64 / count as f64);
    }
    best
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = std::env::temp_dir().join(format!("tollgate-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
        let (tokens, jwks) = tokens(algorithm);
        let file = folder.join("jwks.json");
        std::fs::write(&file, &jwks).unwrap();
        let tools = Tools {
            control: runtime.handle().clone(),
            workers: 1,
            recorder: Arc::new(Recorder::default()),
            key_sets: Arc::new(KeySets::default()),
        };
        let provider = Provider::start("main", &JwtPolicy::new(KeySource::JwksFile(file)), &tools);
        let moment = Moment { now: clock::now(), unix: clock::unix_seconds(), deadline: None };
        for token in &tokens {
            let jws = Jws::parse(token.as_bytes()).unwrap();
            assert!(provider.verify(0, token.as_bytes(), &jws, moment, Look::Last).is_ok());
        }
        let hit = best(HITS, |at| {
            let known = provider.known(0, tokens[at % TOKENS].as_bytes(), moment);
            assert!(black_box(known).is_some());
        });
        let keys = Keys::from_jwks(jwks.as_bytes(), Origin::File).unwrap();
        let rules = Rules::default();
        let miss = best(MISSES, |at| {
            let verified = verify(tokens[at % TOKENS].as_bytes(), &keys, &rules, moment.unix);
            assert!(black_box(verified).is_ok());
        });
        println!("{algorithm}, {} bytes: {hit:.0} ns known, {miss:.0} ns verified", tokens[0].len());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
