//! Who is counted with whom, and what nobody can do about it.

use tokio::net::TcpSocket;

use super::{gate, passing, with};
use crate::support::tokens::{Signer, jwks};
use crate::support::{Backend, Client, Gate, OK};

#[tokio::test]
async fn what_a_stranger_says_of_its_address_changes_nothing() {
    let (gate, _backend) = gate("\"ip\"", "[rate_limits.ip]\nrate = \"3/h\"\n").await;
    let forged = [
        "X-Forwarded-For: 10.0.0.1\r\n",
        "X-Forwarded-For: 10.0.0.2, 10.0.0.3\r\nX-Forwarded-For: 10.0.0.4\r\n",
        "Forwarded: for=10.0.0.5\r\n",
        "X-Real-IP: 10.0.0.6\r\nTrue-Client-IP: 10.0.0.7\r\n",
    ];
    let mut passed = 0;
    for fields in forged {
        passed += passing(&gate, 2, fields).await;
    }
    assert_eq!(passed, 3);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = Client::over(socket.connect(gate.address()).await.unwrap());
    assert_eq!(other.get("/").await.status(), 200, "another address has a bucket of its own");
}

#[tokio::test]
async fn a_trusted_proxy_says_who_is_counted() {
    let tables = "[rate_limits.ip]\nrate = \"2/h\"\n[server]\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let (gate, _backend) = gate("\"ip\"", tables).await;
    for client in ["10.0.0.1", "10.0.0.2", "2001:db8:0:1::1"] {
        assert_eq!(passing(&gate, 4, &format!("X-Forwarded-For: {client}\r\n")).await, 2, "{client}");
    }
    // What stands before the proxy's own word a client has made up.
    assert_eq!(passing(&gate, 4, "X-Forwarded-For: 10.9.9.9, 10.0.0.1\r\n").await, 0);
    assert_eq!(passing(&gate, 4, "X-Forwarded-For: ::ffff:10.0.0.1\r\n").await, 0);
    assert_eq!(passing(&gate, 4, "X-Forwarded-For: 2001:db8:0:1:ffff::9\r\n").await, 0, "one network of 64 bits");
    assert_eq!(passing(&gate, 4, "X-Forwarded-For: 2001:db8:0:2::1\r\n").await, 2);
}

#[tokio::test]
async fn fields_count_and_without_them_the_address_does() {
    let (gate, _backend) = gate("\"key\"", "[rate_limits.key]\nkey = \"header:x-api-key\"\nrate = \"2/h\"\n").await;
    assert_eq!(passing(&gate, 4, "X-Api-Key: a\r\n").await, 2);
    assert_eq!(passing(&gate, 4, "X-Api-Key: b\r\n").await, 2);
    assert_eq!(passing(&gate, 4, "").await, 2, "by address");
    assert_eq!(passing(&gate, 4, "X-Api-Key:\r\n").await, 0, "by address again");
    assert_eq!(passing(&gate, 4, "X-Api-Key: a\r\n").await, 0);
}

#[tokio::test]
async fn everybody_together_and_each_route_alone() {
    let backend = Backend::answering(OK).await;
    let route = |name: &str, limit: &str| {
        let address = backend.address();
        format!(
            "[[routes]]\nname = \"{name}\"\nprefix = \"/{name}\"\nupstream = \"http://{address}\"\nrate_limit = \"{limit}\"\n"
        )
    };
    let text = [
        route("a", "all"),
        route("b", "all"),
        route("c", "by-route"),
        route("d", "by-route"),
        route("e", "split"),
        route("f", "split"),
        "[rate_limits.all]\nkey = \"global\"\nrate = \"3/h\"\n".to_owned(),
        "[rate_limits.by-route]\nkey = \"route\"\nrate = \"2/h\"\n".to_owned(),
        "[rate_limits.split]\nrate = \"2/h\"\nper = \"route\"\n".to_owned(),
    ];
    let gate = Gate::start(&text.concat());
    let mut client = Client::connect(gate.address()).await;
    let mut passed = [0; 6];
    for _ in 0..4 {
        for (at, path) in ["/a", "/b", "/c", "/d", "/e", "/f"].into_iter().enumerate() {
            passed[at] += usize::from(client.get(path).await.status() == 200);
        }
    }
    assert_eq!((passed[0] + passed[1], &passed[2..]), (3, &[2, 2, 2, 2][..]));
}

/// A gateway that asks for tokens, with these limits.
async fn asking(rate_limit: &str, auth: &str, limits: &str) -> (Gate, Backend, Signer, tempfile::TempDir) {
    let signer = Signer::es256("one");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, jwks(&[&signer])).unwrap();
    let tables = format!("{limits}[auth.main]\njwks_file = {file:?}\n");
    let (gate, backend) = gate(&format!("{rate_limit}\nauth = {auth}"), &tables).await;
    (gate, backend, signer, folder)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn subjects_and_claims_count_wherever_they_come_from() {
    let limits = "[rate_limits.user]\nkey = \"subject\"\nrate = \"2/h\"\n\
                  [rate_limits.tenant]\nkey = \"claim:org.id\"\nrate = \"3/h\"\n";
    let (gate, _backend, signer, _folder) = asking("[\"user\", \"tenant\"]", "\"main\"", limits).await;
    let token = |subject: &str, tenant: u8| {
        let exp = crate::support::tokens::now() + 600;
        bearer(&signer.token(&serde_json::json!({"sub": subject, "org": {"id": tenant}, "exp": exp})))
    };
    assert_eq!(passing(&gate, 3, &token("alice", 1)).await, 2, "two for alice");
    assert_eq!(passing(&gate, 3, &token("bob", 1)).await, 1, "three for the tenant");
    assert_eq!(passing(&gate, 3, &token("carol", 2)).await, 2);
    assert_eq!(passing(&gate, 3, &token("alice", 2)).await, 0);
}

#[tokio::test]
async fn who_may_come_without_a_token_is_counted_by_address() {
    let limits = "[rate_limits.user]\nkey = \"subject\"\nrate = \"2/h\"\n";
    let (gate, _backend, signer, _folder) = asking("\"user\"", "{ use = \"main\", optional = true }", limits).await;
    assert_eq!(passing(&gate, 5, "").await, 2);
    assert_eq!(passing(&gate, 5, &bearer(&signer.good("alice"))).await, 2);
}

#[tokio::test]
async fn forged_tokens_are_looked_at_only_as_often_as_the_address_may_come() {
    let limits = "[rate_limits.ip]\nrate = \"5/h\"\n[rate_limits.user]\nkey = \"subject\"\nrate = \"1000/h\"\n";
    let (gate, backend, signer, _folder) = asking("[\"user\", \"ip\"]", "\"main\"", limits).await;
    let forger = Signer::es256("one");
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(with(&gate, &bearer(&forger.good("alice"))).await.status());
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    gate.counted("tollgate_auth_total{auth=\"main\",result=\"signature\"} 5").await;
    assert_eq!(with(&gate, &bearer(&signer.good("alice"))).await.status(), 429, "by address, whoever it is");
    assert!(backend.seen().is_empty());
}

#[tokio::test]
async fn plans_of_a_claim_have_their_rates() {
    let limits =
        "[rate_limits.user]\nkey = \"subject\"\nrates = { gold = \"4/h\", default = \"1/h\" }\nplan = \"claim:tier\"\n";
    let (gate, _backend, signer, _folder) = asking("\"user\"", "\"main\"", limits).await;
    let exp = crate::support::tokens::now() + 600;
    let token = |subject: &str, tier: &str| {
        bearer(&signer.token(&serde_json::json!({"sub": subject, "tier": tier, "exp": exp})))
    };
    assert_eq!(passing(&gate, 6, &token("alice", "gold")).await, 4);
    assert_eq!(passing(&gate, 6, &token("bob", "tin")).await, 1);
    assert_eq!(passing(&gate, 6, &bearer(&signer.good("carol"))).await, 1);
    let answer = with(&gate, &token("dora", "gold")).await;
    assert_eq!(answer.head.get("ratelimit-policy"), Some("\"user\";q=4;w=3600"));
}

#[tokio::test]
async fn plans_of_api_keys_have_their_rates() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.txt");
    let line = |name: &str, key: &str, plan: &str| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{name} {hex} {plan}\n")
    };
    std::fs::write(&file, [line("acme", "key-of-acme", "gold"), line("shop", "key-of-shop", "")].concat()).unwrap();
    let tables = format!(
        "[rate_limits.partner]\nkey = \"subject\"\nrates = {{ gold = \"5/h\", default = \"2/h\" }}\n\
         [auth.partners]\nkind = \"api_key\"\nkeys_file = {file:?}\n"
    );
    let (gate, _backend) = gate("\"partner\"\nauth = \"partners\"", &tables).await;
    assert_eq!(passing(&gate, 8, "X-Api-Key: key-of-acme\r\n").await, 5);
    assert_eq!(passing(&gate, 8, "X-Api-Key: key-of-shop\r\n").await, 2);
    assert_eq!(with(&gate, "X-Api-Key: made-up\r\n").await.status(), 401);
}
