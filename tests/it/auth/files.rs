//! Keys and revoked tokens in files: they are read again when they change, and a file that is broken breaks nothing.

use serde_json::json;

use super::{Guarded, replace};
use crate::support::eventually_async;
use crate::support::tokens::{Signer, jwks, now};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_is_read_again_when_it_changes() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let guarded = Guarded::by(&[&old], "", "'main'").await;
    let (of_old, of_new) = (old.good("a"), new.good("a"));
    assert_eq!(guarded.bearer(&of_old).await.status(), 200);
    assert_eq!(guarded.bearer(&of_new).await.status(), 401);
    let file = guarded.file("keys.json");
    replace(&file, &jwks(&[&old, &new]));
    eventually_async("the new key", async || guarded.bearer(&of_new).await.status() == 200).await;
    assert_eq!(guarded.bearer(&of_old).await.status(), 200);
    replace(&file, &jwks(&[&new]));
    // The token was known, and its key is gone.
    eventually_async("the end of the old key", async || guarded.bearer(&of_old).await.status() == 401).await;
    assert_eq!(guarded.bearer(&of_new).await.status(), 200);
    for broken in ["{\"keys\": [", "", "{\"keys\": []}"] {
        replace(&file, broken);
        let failed = "tollgate_jwks_refreshes_total{auth=\"main\",result=\"content\"} ";
        let before = guarded.gate.metrics().await;
        let count = |page: &str| {
            page.lines().find_map(|line| line.strip_prefix(failed)?.parse::<u64>().ok()).unwrap_or_default()
        };
        eventually_async("a failed round", async || count(&guarded.gate.metrics().await) > count(&before)).await;
        assert_eq!(guarded.bearer(&of_new).await.status(), 200);
    }
    replace(&file, &jwks(&[&old]));
    eventually_async("the old key again", async || guarded.bearer(&of_old).await.status() == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_public_keys_in_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two, three) = (Signer::es256("1"), Signer::rs256("2"), Signer::es256("3"));
    let (first, second) = (folder.path().join("a.pem"), folder.path().join("b.pem"));
    std::fs::write(&first, format!("# two keys\n{}{}", one.pem, two.pem)).unwrap();
    std::fs::write(&second, &three.pem).unwrap();
    let auth = format!("public_key_file = [{first:?}, {second:?}]\nalgorithms = ['ES256', 'RS256']\n");
    let guarded = Guarded::with(folder, &auth, "'main'").await;
    for signer in [&one, &two, &three] {
        assert_eq!(guarded.bearer(&signer.good("a")).await.status(), 200);
    }
    assert_eq!(guarded.bearer(&Signer::es256("1").good("a")).await.status(), 401);
}

#[tokio::test]
async fn a_shared_secret_verifies() {
    let secret = "0123456789abcdef0123456789abcdef";
    let folder = tempfile::tempdir().unwrap();
    let guarded = Guarded::with(folder, &format!("secret = '{secret}'\n"), "'main'").await;
    assert_eq!(guarded.bearer(&Signer::hs256(secret.as_bytes()).good("a")).await.status(), 200);
    for other in ["0123456789abcdef0123456789abcdeF", "", "0123456789abcdef0123456789abcdef\n"] {
        assert_eq!(guarded.bearer(&Signer::hs256(other.as_bytes()).good("a")).await.status(), 401, "{other}");
    }
    assert_eq!(guarded.bearer(&Signer::es256("k").good("a")).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_though_it_was_known() {
    let signer = Signer::es256("k");
    let folder = tempfile::tempdir().unwrap();
    let (keys, list) = (folder.path().join("k.pem"), folder.path().join("revoked.txt"));
    std::fs::write(&keys, &signer.pem).unwrap();
    std::fs::write(&list, "# taken back\nother\n").unwrap();
    let auth = format!(
        "public_key_file = {keys:?}\nrevoked_file = {list:?}\nrevoked_before = {{ mallory = '2026-01-01T00:00:00Z' }}\n"
    );
    let guarded = Guarded::with(folder, &auth, "'main'").await;
    let of = |id: &str| signer.token(&json!({"jti": id, "sub": "a", "exp": now() + 600}));
    let (token, kept) = (of("token-1"), of("token-2"));
    assert_eq!(guarded.bearer(&token).await.status(), 200);
    assert_eq!(guarded.bearer(&of("other")).await.status(), 401);
    replace(&list, "other\ntoken-1\n");
    eventually_async("the revocation", async || guarded.bearer(&token).await.status() == 401).await;
    assert_eq!(guarded.bearer(&kept).await.status(), 200);
    // Without its file nothing is given back.
    std::fs::remove_file(&list).unwrap();
    assert_eq!(guarded.bearer(&token).await.status(), 401);
    let issued = |at: u64| signer.token(&json!({"sub": "mallory", "iat": at, "exp": now() + 600}));
    assert_eq!(guarded.bearer(&issued(now())).await.status(), 200);
    assert_eq!(guarded.bearer(&issued(1_700_000_000)).await.status(), 401);
    assert!(guarded.counted("revoked").await >= 3);
}
