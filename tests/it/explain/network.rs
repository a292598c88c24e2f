//! What an explanation asks of the network: nothing, unless it is told to.

use hickory_proto::rr::RecordType;
use http::{HeaderValue, Method};
use tollgate::app::explain::Inquiry;
use tollgate::config::{Config, load};

use super::explained;
use crate::support::Backend;
use crate::support::tokens::{Signer, jwks};
use crate::support::town::Town;

/// An explanation on a thread that may wait.
async fn online(config: &Config, target: &'static str, token: &str) -> String {
    let (config, fields) = (config.clone(), format!("Bearer {token}"));
    let explained = tokio::task::spawn_blocking(move || {
        let fields = [(http::header::AUTHORIZATION, HeaderValue::try_from(fields).unwrap())].into_iter().collect();
        let mut inquiry = Inquiry::new(Method::GET, target, fields, [127, 0, 0, 1].into()).unwrap();
        inquiry.online = true;
        inquiry.explain(&config).unwrap().to_string()
    });
    explained.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_asked_only_where_that_is_wanted() {
    let signer = Signer::es256("k1");
    let keys = jwks(&[&signer]);
    let issuer = Backend::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{keys}", keys.len())).await;
    let town = Town::new().await;
    town.publish("app.test", &[7]);
    let (url, server, port) = (issuer.address(), town.names.local_addr(), town.port);
    let text = format!(
        "[dns]\nservers = [\"{server}\"]\nfamily = \"v4\"\n[auth.main]\njwks_url = \"http://{url}/keys\"\nallow_http = true\n\
         [[routes]]\nprefix = \"/\"\nupstream = \"http://app.test.:{port}\"\nauth = \"main\"\n"
    );
    let config = load::from_text(&text).unwrap().config;
    let token = signer.good("ann");
    let authorization = [("host", "x".to_owned()), ("authorization", format!("Bearer {token}"))];
    let told = explained(&config, &Method::GET, "/", &authorization).await;
    assert_eq!(told["outcome"], serde_json::json!({"result": "open", "refused_anyway": false}));
    let check = &told["layers"].as_array().unwrap().iter().find(|layer| layer["layer"] == "auth").unwrap()["checks"][1];
    assert!(check["says"].as_str().unwrap().contains(&format!("would fetch http://{url}/keys")), "{check}");
    assert_eq!(told["upstream"]["addresses"], serde_json::json!([]));
    assert!(!told.to_string().contains(&token), "what proves who somebody is does not show: {told}");
    assert_eq!((issuer.connections(), town.names.queries("app.test", RecordType::A)), (0, 0));
    let text = online(&config, "http://x/", &token).await;
    for line in
        ["auth main vouches for ann", "ES256 by key `k1`", &format!("{} healthy", town.socket(7)), "It is forwarded."]
    {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert_eq!(issuer.connections(), 1);
    let text = online(&config, "http://x/", &Signer::es256("k1").good("eve")).await;
    assert!(text.contains("REFUSES") && text.contains("the signature is wrong"), "{text}");
    town.publish("app.test", &[]);
    let text = online(&config, "http://x/", &token).await;
    assert!(text.contains("refused by upstream: 503 no_endpoints"), "{text}");
}
