//! Keys and the word of a service over TLS: from an issuer whose certificate somebody trusted vouches for, by the name that was asked, or not at all.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tollgate::base::tasks::{self, Task};

use super::Guarded;
use crate::support::issuer::answer;
use crate::support::tokens::{Signer, jwks};

/// An authority that vouches for issuers.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn write(&self, path: &Path) {
        std::fs::write(path, self.0.pem()).unwrap();
    }

    /// An issuer with a certificate for this name, which answers everything with these bytes.
    async fn issuer(&self, name: &str, says: Vec<u8>) -> (SocketAddr, Task) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = CertificateDer::from(params.signed_by(&key, &self.0).unwrap().der().to_vec());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tasks::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Whoever does not trust us ends the handshake.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(&says).await;
                let _ = stream.shutdown().await;
            }
        });
        (address, serving)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_whom_somebody_trusted_vouches_for() {
    let signer = Signer::es256("k");
    let (trusted, other) = (Authority::new(), Authority::new());
    let says = answer("", &jwks(&[&signer]));
    let (right, _right) = trusted.issuer("127.0.0.1", says.clone()).await;
    let (misnamed, _misnamed) = trusted.issuer("login.example.com", says.clone()).await;
    let (stranger, _stranger) = other.issuer("127.0.0.1", says).await;
    for (address, with_ca, status) in
        [(right, true, 200), (right, false, 503), (misnamed, true, 503), (stranger, true, 503)]
    {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        trusted.write(&ca);
        let ca = if with_ca { format!("jwks_ca = {ca:?}\n") } else { String::new() };
        let auth = format!("jwks_url = 'https://{address}/jwks'\n{ca}");
        let guarded = Guarded::with(folder, &auth, "'main'").await;
        assert_eq!(guarded.bearer(&signer.good("a")).await.status(), status, "{address} {with_ca}");
        let result = if status == 200 { "ok" } else { "tls" };
        let page = guarded.gate.metrics().await;
        let line = format!("tollgate_jwks_refreshes_total{{auth=\"main\",result=\"{result}\"}} ");
        assert!(page.contains(&line), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_believed_if_somebody_trusted_vouches_for_it() {
    let (trusted, other) = (Authority::new(), Authority::new());
    let says = b"HTTP/1.1 200 OK\r\nX-User: alice\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    let (right, _right) = trusted.issuer("127.0.0.1", says.clone()).await;
    let (misnamed, _misnamed) = trusted.issuer("authz.example.com", says.clone()).await;
    let (stranger, _stranger) = other.issuer("127.0.0.1", says).await;
    for (address, with_ca, status) in
        [(right, true, 200), (right, false, 503), (misnamed, true, 503), (stranger, true, 503)]
    {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        trusted.write(&ca);
        let ca = if with_ca { format!("ca = {ca:?}\n") } else { String::new() };
        let auth =
            format!("kind = 'forward'\nurl = 'https://{address}/'\ntimeout = '5s'\ncopy_headers = ['x-user']\n{ca}");
        let guarded = Guarded::with(folder, &auth, "'main'").await;
        assert_eq!(guarded.ask("").await.status(), status, "{address} {with_ca}");
        assert_eq!(guarded.backend.seen().len(), usize::from(status == 200));
    }
}
