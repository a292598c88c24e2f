//! `mint-token attack --url` against a real gateway: nothing that is forged passes, and everything that is good does. And
//! against one that asks nobody, where it has to find the holes.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tollgate::app::{Gateway, Running};
use tollgate::config::load;
use tollgate::lab::{hello, serve};

use crate::{key, mint, text};

/// A backend that greets everybody, for as long as the runtime lives.
fn backend(runtime: &Runtime) -> SocketAddr {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    drop(runtime.spawn(serve::serve(listener, hello::router("me"), std::future::pending())));
    address
}

fn gateway(backend: SocketAddr, more: &str) -> Running {
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[admin]\nlisten = \"off\"\n[log]\naccess = \"off\"\n\
         [[routes]]\nprefix = \"/\"\nupstream = \"http://{backend}\"\n{more}"
    );
    Gateway::start(&load::from_text(&config).unwrap().config).unwrap()
}

#[test]
fn every_forgery_is_refused_by_a_gateway_and_found_where_nobody_is_asked() {
    let runtime = Runtime::new().unwrap();
    let backend = backend(&runtime);
    let (folder, key) = key("ES256");
    let jwks = folder.path().join("jwks.json");
    let guarded = gateway(
        backend,
        &format!(
            "auth = \"main\"\n[auth.main]\nkind = \"jwt\"\nissuer = \"https://issuer.example/\"\naudience = [\"orders\"]\njwks_file = \"{}\"\n",
            text(&jwks)
        ),
    );
    let open = gateway(backend, "");
    let attack = |at: &Running| {
        let url = format!("http://{}/", at.addresses()[0]);
        let asked = ["--iss", "https://issuer.example/", "--aud", "orders", "--sub", "alice", "--jwks", text(&jwks)];
        let output = mint(&[&["attack", "--key", &key, "--url", &url][..], &asked].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = attack(&guarded);
    let wrong: Vec<&str> = said.lines().filter(|line| line.starts_with("WRONG")).collect();
    assert_eq!((code, wrong), (Some(0), Vec::new()));
    assert!(said.ends_with(" tokens, 0 not judged as they have to be\n"), "{said}");

    let (code, said) = attack(&open);
    assert_eq!(code, Some(1));
    assert!(said.contains("WRONG  200  refuse  alg-none: "), "{said}");
    assert!(said.contains("right  200  accept  control: "), "{said}");
    guarded.shutdown();
    open.shutdown();
    let nobody = mint(&["attack", "--key", &key, "--only", "control", "--url", "http://127.0.0.1:9/"]);
    assert_eq!(nobody.status.code(), Some(1));
    drop(runtime);
}
