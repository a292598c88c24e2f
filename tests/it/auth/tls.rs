//! Keys and the word of a service over TLS: from an issuer whose certificate somebody trusted vouches for, by the name
//! that was asked, or not at all.

use super::Guarded;
use crate::support::authority::Authority;
use crate::support::issuer::answer;
use crate::support::tokens::{Signer, jwks};

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_whom_somebody_trusted_vouches_for() {
    let signer = Signer::es256("k");
    let (trusted, other) = (Authority::new(), Authority::new());
    let says = answer("", &jwks(&[&signer]));
    let (right, _right) = trusted.server("127.0.0.1", says.clone()).await;
    let (misnamed, _misnamed) = trusted.server("login.example.com", says.clone()).await;
    let (stranger, _stranger) = other.server("127.0.0.1", says).await;
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
    let (right, _right) = trusted.server("127.0.0.1", says.clone()).await;
    let (misnamed, _misnamed) = trusted.server("authz.example.com", says.clone()).await;
    let (stranger, _stranger) = other.server("127.0.0.1", says).await;
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
