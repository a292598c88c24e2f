//! The issuer as a service: who it is (OpenID Connect Discovery 1.0 §4), its keys, and tokens for whoever asks. It asks
//! nobody who they are, so it belongs on a machine of one's own. Knows no command line.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::key::KeyError;
use super::keyring::{Keyring, Signer};
use super::order::{Moment, Order, USUAL_LIFE, member};
use super::token::{self, Members};

/// Where the keys are.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// What an issuer says of itself.
#[derive(Clone, Debug)]
pub struct Profile {
    /// `iss` of its tokens: a URL that leads here, if the discovery document is to be found.
    pub issuer: String,
    /// How long others may keep the key set.
    pub max_age: Duration,
    /// How long a key stays published after its successor has come.
    pub keep: Duration,
}

/// A running issuer: clones share their keys.
#[derive(Clone, Debug)]
pub struct Issuer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    profile: Profile,
    keys: Mutex<Keyring>,
}

/// The clock on the wall, in seconds since 1970.
pub fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Issuer {
    /// An issuer with its first key.
    pub fn new(profile: Profile, first: Signer) -> Self {
        Self(Arc::new(Inner { profile, keys: Mutex::new(Keyring::new(first)) }))
    }

    /// Signs with another key from now on. Says whether it is another one.
    pub fn rotate(&self, next: Signer) -> bool {
        let keep = i64::try_from(self.0.profile.keep.as_secs()).unwrap_or(i64::MAX);
        self.keys(|keys| keys.rotate(next, wall_clock().saturating_add(keep)))
    }

    /// The key that signs.
    pub fn current(&self) -> Signer {
        self.keys(|keys| keys.current().clone())
    }

    /// A token.
    ///
    /// # Errors
    /// The library failed.
    pub fn token(&self, order: &Order) -> Result<String, KeyError> {
        let Signer { key, algorithm, kid } = self.current();
        let order = Order { issuer: order.issuer.clone().or(Some(self.0.profile.issuer.clone())), ..order.clone() };
        let claims = order.claims(wall_clock(), &Uuid::now_v7().to_string());
        token::signed(&token::header(algorithm, kid.as_deref(), &Members::new()), &claims, &key, algorithm)
    }

    /// What it serves.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route(JWKS_PATH, get(key_set))
            .route("/token", post(issue))
            .with_state(self.clone())
    }

    fn keys<T>(&self, work: impl FnOnce(&mut Keyring) -> T) -> T {
        work(&mut self.0.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn discovery(State(issuer): State<Issuer>) -> impl IntoResponse {
    let profile = &issuer.0.profile;
    let base = profile.issuer.trim_end_matches('/');
    let body = json!({
        "issuer": profile.issuer,
        "jwks_uri": format!("{base}{JWKS_PATH}"),
        "token_endpoint": format!("{base}/token"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [issuer.current().algorithm.as_str()],
    });
    ([(header::CACHE_CONTROL, max_age(profile))], Json(body))
}

async fn key_set(State(issuer): State<Issuer>) -> impl IntoResponse {
    let body = issuer.keys(|keys| keys.published(wall_clock())).to_string();
    let fields = [
        (header::CONTENT_TYPE, "application/jwk-set+json".to_owned()),
        (header::CACHE_CONTROL, max_age(&issuer.0.profile)),
    ];
    (fields, body)
}

fn max_age(profile: &Profile) -> String {
    format!("public, max-age={}", profile.max_age.as_secs())
}

/// A token for whoever asks; what it is to say comes as a form or as JSON.
async fn issue(State(issuer): State<Issuer>, request: Request) -> Response {
    match asked_for(request)
        .await
        .and_then(|order| Ok((lifetime(&order), issuer.token(&order).map_err(|e| e.to_string())?)))
    {
        Ok((lifetime, token)) => {
            let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": lifetime });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        // RFC 6749 §5.2.
        Err(error) => {
            let body = json!({ "error": "invalid_request", "error_description": error });
            (StatusCode::BAD_REQUEST, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
    }
}

fn lifetime(order: &Order) -> Option<i64> {
    order.expires.map(|moment| moment.seconds(wall_clock()) - wall_clock())
}

/// The wishes of a request: pairs of a form, or members of a JSON object.
async fn asked_for(request: Request) -> Result<Order, String> {
    let mut order = Order { expires: Some(USUAL_LIFE), ..Order::default() };
    if is_json(request.headers()) {
        let body = Bytes::from_request(request, &()).await.map_err(|error| error.body_text())?;
        let members: Members = serde_json::from_slice(&body).map_err(|error| format!("the body: {error}"))?;
        for (name, value) in members {
            wish(&mut order, &name, value)?;
        }
        return Ok(order);
    }
    let Form(pairs) =
        Form::<Vec<(String, String)>>::from_request(request, &()).await.map_err(|error| error.body_text())?;
    for (name, value) in pairs {
        match name.as_str() {
            "claim" => order.claims.extend([member(&value)?]),
            _ => wish(&mut order, &name, value.into())?,
        }
    }
    Ok(order)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn wish(order: &mut Order, name: &str, value: Value) -> Result<(), String> {
    let wrong = |what: &str| format!("`{name}` is {what}");
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong("not a text"));
    match name {
        "sub" => order.subject = Some(text(&value)?),
        "scope" => order.scope = Some(text(&value)?),
        "aud" | "audience" => match value {
            Value::Array(several) => {
                order.audience.extend(several.iter().map(text).collect::<Result<Vec<_>, _>>()?);
            }
            one => order.audience.push(text(&one)?),
        },
        "expires_in" => {
            let seconds = value.as_i64().or_else(|| value.as_str()?.parse().ok());
            order.expires = Some(Moment::FromNow(seconds.ok_or_else(|| wrong("not a number of seconds"))?));
        }
        "claims" => {
            let read = match value {
                Value::String(json) => {
                    serde_json::from_str(&json).map_err(|error| wrong(&format!("not JSON: {error}")))?
                }
                other => other,
            };
            let Value::Object(claims) = read else { return Err(wrong("not an object")) };
            order.claims.extend(claims);
        }
        "grant_type" if value == "client_credentials" => {}
        "grant_type" => return Err(wrong("not client_credentials")),
        // What clients of OAuth send of themselves: nobody is asked to prove it.
        "client_id" if order.subject.is_none() => order.subject = Some(text(&value)?),
        "client_id" | "client_secret" | "resource" => {}
        _ => return Err(format!("`{name}` is not known: there are sub, aud, scope, expires_in, claim and claims")),
    }
    Ok(())
}
