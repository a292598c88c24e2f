//! Which route takes a request, by path, host, method, fields and query, and what is said when none does.

use crate::support::{Backend, Client, Gate, OK, ask, get};

/// Backends that answer with their names.
struct Named(Vec<(&'static str, Backend)>);

impl Named {
    async fn start(names: &[&'static str]) -> Self {
        let mut backends = Vec::new();
        for &name in names {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
            backends.push((name, Backend::answering(answer).await));
        }
        Self(backends)
    }

    /// A gateway with these routes, in which `@name` stands for the upstream of that name.
    fn gate(&self, routes: &[&str]) -> Gate {
        let mut text = String::new();
        for (name, backend) in &self.0 {
            text += &format!("[upstreams.{name}]\naddresses = [\"{}\"]\n", backend.address());
        }
        for route in routes {
            text += &format!("[[routes]]\n{}\n", route.replace(" @", "\nupstream = @").replace("; ", "\n"));
        }
        for (name, _) in &self.0 {
            text = text.replace(&format!("@{name}\n"), &format!("\"{name}\"\n"));
        }
        Gate::start(&text)
    }
}

async fn ask_host(gate: &Gate, host: &str) -> String {
    ask(gate.address(), format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.text()
}

#[tokio::test]
async fn the_longest_prefix_takes_a_path_on_a_segment_boundary() {
    let named = Named::start(&["root", "orders", "items", "exact"]).await;
    let gate = named.gate(&[
        "prefix = \"/\" @root",
        "prefix = \"/orders\" @orders",
        "prefix = \"/orders/items\" @items",
        "path = \"/orders/items/best\" @exact",
    ]);
    let mut client = Client::connect(gate.address()).await;
    for (path, name) in [
        ("/", "root"),
        ("/orders", "orders"),
        ("/orders/", "orders"),
        ("/orders/1", "orders"),
        ("/orders?x=/orders/items", "orders"),
        ("/orders-old", "root"),
        ("/orders-old/1", "root"),
        ("/order", "root"),
        ("/Orders", "root"),
        ("/orders/items", "items"),
        ("/orders/items/", "items"),
        ("/orders/items/1/2", "items"),
        ("/orders/itemsx", "orders"),
        ("/orders/items/best", "exact"),
        ("/orders/items/best/", "items"),
        ("/orders/items/best/1", "items"),
        ("/x/../orders/./items", "items"),
        ("//orders", "orders"),
        ("/%6Frders", "orders"),
    ] {
        assert_eq!(client.get(path).await.text(), name, "{path}");
    }
}

#[tokio::test]
async fn a_path_with_a_final_slash_can_be_a_route_of_its_own() {
    let named = Named::start(&["below", "slash"]).await;
    let gate = named.gate(&["prefix = \"/a\" @below", "path = \"/a/\" @slash"]);
    for (path, name) in [("/a", "below"), ("/a/", "slash"), ("/a/b", "below")] {
        assert_eq!(get(gate.address(), path).await.text(), name, "{path}");
    }
}

#[tokio::test]
async fn prefixes_with_odd_characters_mean_themselves() {
    let odd = ["/%7Bid%7D", "/a%7B*rest%7D", "/:id", "/*x", "/*all", "/50%25", "/caf%C3%A9", "/%7D%7B", "/(x)", "/a+b"];
    let mut names = vec!["root"];
    names.extend(["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"]);
    let named = Named::start(&names).await;
    let mut routes = vec!["prefix = \"/\" @root".to_owned()];
    routes.extend(odd.iter().enumerate().map(|(at, prefix)| format!("prefix = \"{prefix}\" @n{at}")));
    let gate = named.gate(&routes.iter().map(String::as_str).collect::<Vec<_>>());
    let mut client = Client::connect(gate.address()).await;
    for (at, prefix) in odd.iter().enumerate() {
        for path in [(*prefix).to_owned(), format!("{prefix}/"), format!("{prefix}/b/c")] {
            assert_eq!(client.get(&path).await.text(), format!("n{at}"), "{path}");
        }
        assert_eq!(client.get(&format!("{prefix}x")).await.text(), "root", "{prefix}x");
    }
    for (path, name) in [
        ("/caf\u{e9}", "n6"),
        ("/caf%c3%a9/x", "n6"),
        ("/{id}/x", "n0"),
        ("/%7bid%7d", "n0"),
        ("/7", "root"),
        ("/ab", "root"),
        ("/a", "root"),
    ] {
        assert_eq!(client.get(path).await.text(), name, "{path}");
    }
}

#[tokio::test]
async fn hosts_match_whatever_their_case_port_or_final_dot() {
    let named = Named::start(&["any", "api", "wide", "deep"]).await;
    let gate = named.gate(&[
        "prefix = \"/\" @any",
        "prefix = \"/\"; hosts = [\"*.example.com\"] @wide",
        "prefix = \"/\"; hosts = [\"*.eu.example.com\"] @deep",
        "prefix = \"/\"; hosts = [\"api.example.com\", \"[::1]\"] @api",
    ]);
    for (host, name) in [
        ("api.example.com", "api"),
        ("API.Example.COM", "api"),
        ("api.example.com:8080", "api"),
        ("api.example.com.", "api"),
        ("api.example.com.:80", "api"),
        ("[::1]:8080", "api"),
        ("www.example.com", "wide"),
        ("a.b.example.com", "wide"),
        ("x.eu.example.com", "deep"),
        ("eu.example.com", "wide"),
        ("example.com", "any"),
        ("notexample.com", "any"),
        ("api.example.com.evil.test", "any"),
    ] {
        assert_eq!(ask_host(&gate, host).await, name, "{host}");
    }
}

#[tokio::test]
async fn a_longer_path_of_any_host_goes_before_a_shorter_one_of_this_host() {
    let named = Named::start(&["host", "any", "wide"]).await;
    let gate = named.gate(&[
        "prefix = \"/\"; hosts = [\"a.test\"] @host",
        "prefix = \"/long\" @any",
        "prefix = \"/\"; hosts = [\"*.test\"] @wide",
    ]);
    for (host, path, name) in
        [("a.test", "/", "host"), ("a.test", "/long/1", "any"), ("b.test", "/x", "wide"), ("b.test", "/long", "any")]
    {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(ask(gate.address(), request).await.text(), name, "{host}{path}");
    }
}

#[tokio::test]
async fn fields_and_query_parameters_tell_routes_apart() {
    let named = Named::start(&["plain", "beta", "two", "both"]).await;
    let gate = named.gate(&[
        "prefix = \"/\" @plain",
        "prefix = \"/\"; query = { beta = \"1\" } @beta",
        "prefix = \"/\"; headers = { X-Version = \"2\" } @two",
        "prefix = \"/\"; headers = { x-version = \"2\" }; query = { beta = \"1\" } @both",
    ]);
    for (target, fields, name) in [
        ("/", "", "plain"),
        ("/?beta=1", "", "beta"),
        ("/?a=b&beta=1", "", "beta"),
        ("/?beta=12", "", "plain"),
        ("/?xbeta=1", "", "plain"),
        ("/?beta", "", "plain"),
        ("/", "x-version: 2\r\n", "two"),
        ("/", "X-Version: 1\r\nX-Version: 2\r\n", "two"),
        ("/", "x-version: 22\r\n", "plain"),
        ("/?beta=1", "x-version: 2\r\n", "both"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: gate\r\n{fields}\r\n");
        assert_eq!(ask(gate.address(), request).await.text(), name, "{target} {fields}");
    }
}

#[tokio::test]
async fn a_method_that_no_route_of_the_path_takes_is_refused_with_those_that_are() {
    let named = Named::start(&["root", "read", "write"]).await;
    let gate = named.gate(&[
        "prefix = \"/\" @root",
        "prefix = \"/a\"; methods = [\"GET\"] @read",
        "prefix = \"/a\"; methods = [\"POST\", \"PUT\"] @write",
    ]);
    let mut client = Client::connect(gate.address()).await;
    for (method, name) in [("GET", "read"), ("POST", "write"), ("PUT", "write")] {
        let request = format!("{method} /a/1 HTTP/1.1\r\nHost: gate\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.ask(request).await.text(), name);
    }
    assert_eq!(client.ask("HEAD /a HTTP/1.1\r\nHost: gate\r\n\r\n").await.status(), 200);
    let refused = client.ask("DELETE /a/1 HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    assert_eq!(refused.refusal(), (405, "method_not_allowed".into()));
    assert_eq!(refused.head.get("allow"), Some("GET, HEAD, POST, PUT"));
    assert_eq!(client.ask("DELETE /b HTTP/1.1\r\nHost: gate\r\n\r\n").await.text(), "root");
}

#[tokio::test]
async fn what_no_route_takes_is_not_found() {
    let named = Named::start(&["orders", "host"]).await;
    let gate = named.gate(&[
        "prefix = \"/orders\" @orders",
        "prefix = \"/\"; hosts = [\"known.test\"]; query = { beta = \"1\" } @host",
    ]);
    let mut client = Client::connect(gate.address()).await;
    for path in ["/", "/orders-old", "/%6Frder"] {
        assert_eq!(client.get(path).await.refusal(), (404, "no_route".into()), "{path}");
    }
    let known = "GET / HTTP/1.1\r\nHost: known.test\r\n\r\n";
    assert_eq!(client.ask(known).await.refusal(), (404, "no_route".into()));
    let head = client.ask("HEAD /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    assert_eq!(head.status(), 404);
    assert_ne!(head.head.get("content-length"), Some("0"), "as long as the answer to a GET");
    assert_eq!(client.get("/orders").await.text(), "orders", "no byte of a body came behind the HEAD");
}

#[tokio::test]
async fn options_of_the_whole_server_is_answered_here() {
    let named = Named::start(&["root"]).await;
    let gate = named.gate(&["prefix = \"/\" @root"]);
    let answer = ask(gate.address(), "OPTIONS * HTTP/1.1\r\nHost: gate\r\n\r\n").await;
    assert_eq!(answer.status(), 204);
    assert!(named.0[0].1.seen().is_empty());
}

/// Every path of up to `depth` of these segments.
fn paths(depth: usize, segments: &[&str]) -> Vec<String> {
    let mut all = vec![String::new()];
    for _ in 0..depth {
        let longer: Vec<_> =
            all.iter().flat_map(|path| segments.iter().map(move |segment| format!("{path}/{segment}"))).collect();
        all.extend(longer);
    }
    all.retain(|path| !path.is_empty());
    all.sort();
    all.dedup();
    all
}

#[tokio::test]
async fn many_prefixes_and_exact_paths_are_told_apart_as_their_definition_says() {
    let backend = Backend::answering(OK).await;
    let candidates = paths(3, &["a", "ab", "a-b", "%7Ba%7D", ":a", "*a"]);
    let asked = paths(3, &["a", "ab", "a-b", "%7Ba%7D", ":a", "*a", "b"]);
    for round in 0..3 {
        // Which ones are routes differs by round and is the same in every run.
        let is_route = |at: usize, share: usize| (at * 2_654_435_761 + round * 40_503) % 97 < share;
        let prefixes: Vec<_> = candidates.iter().enumerate().filter(|(at, _)| is_route(*at, 12)).collect();
        let exacts: Vec<_> = candidates.iter().enumerate().filter(|(at, _)| is_route(at + 7, 8)).collect();
        let route = |kind: &str, at: usize, path: &str| {
            let address = backend.address();
            format!("[[routes]]\n{kind} = \"{path}\"\nrewrite = \"/{kind}/{at}\"\nupstream = \"http://{address}\"\n")
        };
        let mut text: String = prefixes.iter().map(|(at, path)| route("prefix", *at, path)).collect();
        text.extend(exacts.iter().map(|(at, path)| route("path", *at, path)));
        let gate = Gate::start(&text);
        let mut client = Client::connect(gate.address()).await;
        for path in &asked {
            let exact = exacts.iter().find(|(_, exact)| *exact == path);
            let below = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}/"));
            let longest = prefixes.iter().filter(|(_, prefix)| below(prefix)).max_by_key(|(_, prefix)| prefix.len());
            let expected =
                exact.map(|(at, _)| format!("/path/{at}")).or(longest.map(|(at, _)| format!("/prefix/{at}")));
            let before = backend.seen().len();
            let status = client.get(path).await.status();
            let taken = backend.seen().get(before).map(|seen| seen.head.target().to_owned());
            assert_eq!((status, &taken), (if expected.is_some() { 200 } else { 404 }, &expected), "{path}");
        }
    }
}
