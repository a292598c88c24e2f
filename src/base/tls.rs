//! TLS towards those whom the gateway asks something for itself: issuers of keys, services, collectors of traces. Whom it
//! trusts, and that they are who was asked for; not what they are asked.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Why there is no connection that can be trusted.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file of authorities cannot be used.
    #[error("{}: {reason}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no way to speak TLS at all.
    #[error("{0}")]
    Unable(String),
    /// The host has no name that a certificate could be for.
    #[error("{0}")]
    Name(#[from] InvalidDnsNameError),
    /// Nobody vouches for the other side, or it does not speak TLS.
    #[error("{0}")]
    Handshake(#[from] io::Error),
}

/// How to speak with somebody for whom the authorities in this PEM file vouch, or the system's. Reads files, on a thread
/// that may wait for them.
///
/// # Errors
/// When the authorities cannot be read.
pub async fn trusting(ca: Option<PathBuf>) -> Result<ClientConfig, TlsError> {
    let reading = tokio::task::spawn_blocking(move || client_config(ca));
    reading.await.map_err(|error| TlsError::Unable(error.to_string()))?
}

/// Speaks TLS with the host of a URL.
///
/// # Errors
/// When nobody vouches for it, or it does not speak it.
pub async fn encrypt(
    config: Arc<ClientConfig>,
    stream: TcpStream,
    url: &Uri,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let name = ServerName::try_from(host(url).to_owned())?;
    Ok(TlsConnector::from(config).connect(name, stream).await?)
}

/// The host of a URL, without brackets.
pub fn host(url: &Uri) -> &str {
    let host = url.host().unwrap_or_default();
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// The port of a URL, and whether TLS is spoken there.
pub fn port(url: &Uri) -> (u16, bool) {
    let encrypted = url.scheme_str() == Some("https");
    (url.port_u16().unwrap_or(if encrypted { 443 } else { 80 }), encrypted)
}

fn client_config(ca: Option<PathBuf>) -> Result<ClientConfig, TlsError> {
    let roots = match ca {
        Some(path) => from_file(&path).map_err(|reason| TlsError::Authorities { path, reason })?,
        None => of_the_system(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| TlsError::Unable(error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn from_file(path: &PathBuf) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    for certificate in certificates.map_err(|error| error.to_string())? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    // Nobody could be trusted, which cannot be meant.
    if roots.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(roots) }
}

/// The system's authorities; those of browsers where the system has none, as in an empty container.
fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_how() {
        let at = |url: &str| {
            let url: Uri = url.parse().unwrap();
            (host(&url).to_owned(), port(&url))
        };
        assert_eq!(at("https://a.example/x"), ("a.example".to_owned(), (443, true)));
        assert_eq!(at("http://a.example"), ("a.example".to_owned(), (80, false)));
        assert_eq!(at("https://[::1]:8443/"), ("::1".to_owned(), (8443, true)));
    }

    #[test]
    fn a_file_without_authorities_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let [missing, broken, empty] = ["missing", "broken", "empty"].map(|name| folder.path().join(name));
        std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        std::fs::write(&empty, "no PEM").unwrap();
        for path in [missing, broken, empty] {
            let error = client_config(Some(path.clone())).unwrap_err();
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        }
    }
}
