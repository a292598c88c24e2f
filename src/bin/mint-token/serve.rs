//! `mint-token serve`: the issuer on a port, and the signals that rotate its keys. What it answers is in the library.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tollgate::base::units::parse_duration;
use tollgate::lab;
use tollgate::lab::issuer::algorithm::Algorithm;
use tollgate::lab::issuer::key::Key;
use tollgate::lab::issuer::keyring::Signer;
use tollgate::lab::issuer::server::{Issuer, JWKS_PATH, Profile};

use crate::{Exit, io, key, runtime};

/// Serve a discovery document, a key set and POST /token, until SIGTERM or ^C. It gives a token to whoever asks
#[derive(Args, Debug)]
#[command(
    after_help = "SIGHUP reads the key's file again, SIGUSR1 makes a new key. The key before it stays published for --keep.

  curl -d sub=alice -d aud=orders -d scope='read write' -d claim=tenant=acme http://127.0.0.1:9000/token"
)]
pub(crate) struct Serve {
    /// Private key in PEM [default: a new one that is nowhere written]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Algorithm [default: the usual one of the key; ES256 for a new one]
    #[arg(long)]
    alg: Option<Algorithm>,
    /// Address to serve on
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDR")]
    listen: SocketAddr,
    /// Issuer of the tokens [default: http:// and the address]
    #[arg(long)]
    iss: Option<String>,
    /// How long others may keep the key set
    #[arg(long, default_value = "1min", value_name = "DURATION", value_parser = parse_duration)]
    max_age: Duration,
    /// How long a key stays published after its successor
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = parse_duration)]
    keep: Duration,
}

impl Serve {
    pub(crate) fn run(&self) -> Exit {
        match self.first() {
            Ok(signer) => runtime::block_on(self.serve(signer)),
            Err(exit) => exit,
        }
    }

    async fn serve(&self, signer: Signer) -> Exit {
        let listener = match TcpListener::bind(self.listen).await {
            Ok(listener) => listener,
            Err(error) => return Exit::unavailable(format_args!("cannot listen on {}: {error}", self.listen)),
        };
        let address = listener.local_addr().unwrap_or(self.listen);
        let Ok(mut anew) = signal(SignalKind::user_defined1()) else {
            return Exit::unavailable("cannot watch for signals");
        };
        let mut again = runtime::hangup();
        let mut stop = std::pin::pin!(runtime::stop());
        let issuer = Issuer::new(self.profile(address), signer);
        self.welcome(&issuer, address);
        let mut serving = std::pin::pin!(lab::serve::serve(listener, issuer.router(), std::future::pending()));
        loop {
            tokio::select! {
                () = &mut stop => return Exit::Fine,
                () = &mut serving => return Exit::Fine,
                () = again.next() => self.rotate(&issuer, self.first()),
                _ = anew.recv() => self.rotate(&issuer, fresh(issuer.current().algorithm)),
            }
        }
    }

    /// The key in the file, or a new one.
    fn first(&self) -> Result<Signer, Exit> {
        match &self.key {
            Some(file) => Signer::new(key::read(file)?, self.alg).map_err(|error| key::wrong_key(file, &error)),
            None => fresh(self.alg.unwrap_or(Algorithm::Es256)),
        }
        .and_then(|signer| match signer.public() {
            Some(_) => Ok(signer),
            None => Err(Exit::problem("a shared secret cannot be published: choose another --alg")),
        })
    }

    fn profile(&self, address: SocketAddr) -> Profile {
        let own = match address.ip().is_unspecified() {
            true => format!("http://localhost:{}", address.port()),
            false => format!("http://{address}"),
        };
        Profile { issuer: self.iss.clone().unwrap_or(own), max_age: self.max_age, keep: self.keep }
    }

    /// What could not be read has been said, and the key stays as it is.
    fn rotate(&self, issuer: &Issuer, next: Result<Signer, Exit>) {
        let changed = next.is_ok_and(|next| issuer.rotate(next));
        let kid = issuer.current().kid.unwrap_or_default();
        let _ = io::print(&match changed {
            true => format!("signs with a new key now: {kid}\n"),
            false => format!("signs with the same key as before: {kid}\n"),
        });
    }

    fn welcome(&self, issuer: &Issuer, address: SocketAddr) {
        if !address.ip().is_loopback() {
            io::complain(&format!("warning: whoever reaches {address} can have a token\n"));
        }
        let Signer { algorithm, kid, .. } = issuer.current();
        let _ = io::print(&format!(
            "an issuer listens on {address}\n\n\
             \x20 discovery  http://{address}/.well-known/openid-configuration\n\
             \x20 keys       http://{address}{JWKS_PATH}\n\
             \x20 a token    curl -d sub=alice http://{address}/token\n\n\
             signs with {algorithm}, key {}\n",
            kid.unwrap_or_default()
        ));
    }
}

fn fresh(algorithm: Algorithm) -> Result<Signer, Exit> {
    let bits = 2048;
    Key::generate(algorithm, bits).and_then(|key| Signer::new(key, Some(algorithm))).map_err(Exit::problem)
}
