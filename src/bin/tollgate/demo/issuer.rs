//! The demo's issuer of tokens: a key that lives as long as the demo, the set that the gateway fetches, and a token to
//! try.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;
use tollgate::base::tasks::{self, Task};
use tollgate::lab;
use tollgate::lab::issuer::algorithm::Algorithm;
use tollgate::lab::issuer::key::Key;
use tollgate::lab::issuer::keyring::Signer;
use tollgate::lab::issuer::order::{Moment, Order};
use tollgate::lab::issuer::server::{Issuer, JWKS_PATH, Profile};

/// For whom its tokens are.
const AUDIENCE: &str = "demo";
/// Life of the token that is printed, in seconds: longer than anybody tries a demo.
const LIFE: i64 = 24 * 3600;
const HOUR: Duration = Duration::from_secs(3600);

/// A running issuer; it ends with the value.
pub(super) struct DemoIssuer {
    issuer: Issuer,
    address: SocketAddr,
    _serving: Task,
}

impl DemoIssuer {
    /// Starts it on any port, with a new key.
    pub(super) async fn start() -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot start an issuer of tokens: {error}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| failed(&error))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        let key = Key::generate(Algorithm::Es256, 2048).map_err(|error| failed(&error))?;
        let profile = Profile { issuer: format!("http://{address}"), max_age: HOUR, keep: HOUR };
        let issuer = Issuer::new(profile, Signer::new(key, None).map_err(|error| failed(&error))?);
        let serving = tasks::spawn(lab::serve::serve(listener, issuer.router(), std::future::pending()));
        Ok(Self { issuer, address, _serving: serving })
    }

    /// The configuration of a gateway that takes its tokens on `/private`.
    pub(super) fn config(&self) -> String {
        let address = self.address;
        format!(
            r#"
            [auth.demo]
            kind = "jwt"
            issuer = "http://{address}"
            audience = ["{AUDIENCE}"]
            jwks_url = "http://{address}{JWKS_PATH}"
            allow_http = true
            claims_to_headers = {{ sub = "x-user-id" }}
            [[routes]]
            prefix = "/private"
            strip_prefix = true
            upstream = "app"
            auth = "demo"
            "#
        )
    }

    /// What to try with it, for a gateway that listens there.
    pub(super) fn commands(&self, gateway: SocketAddr) -> Result<String, String> {
        let order = Order {
            audience: vec![AUDIENCE.to_owned()],
            subject: Some("alice".to_owned()),
            expires: Some(Moment::FromNow(LIFE)),
            ..Order::default()
        };
        let token = self.issuer.token(&order).map_err(|error| error.to_string())?;
        Ok(format!(
            "\x20 TOKEN={token}\n\
             \x20 curl -i http://{gateway}/private/echo\n\
             \x20 curl -i -H \"Authorization: Bearer $TOKEN\" http://{gateway}/private/echo\n\
             \x20 curl -d sub=bob -d aud={AUDIENCE} http://{}/token\n",
            self.address
        ))
    }
}
