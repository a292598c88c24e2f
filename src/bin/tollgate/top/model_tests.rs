//! What a model knows after what it has heard.

use serde_json::json;
use tollgate::base::clock;

use super::*;

/// A gateway with two routes and two addresses, after two seconds.
pub(in crate::top) fn known() -> Model {
    let mut model = Model::default();
    let address = |address: &str, state: &str, requests: u64| json!({"address": address, "state": state, "requests": requests, "in_flight": 1, "connections": 3, "failures": 0});
    let upstream =
        json!({"name": "u", "addresses": [address("10.0.0.1:80", "healthy", 5), address("10.0.0.2:80", "healthy", 0)]});
    let status = json!({"version": "0.1.0", "uptime_seconds": 100, "draining": false, "routes": ["a", "b"], "upstreams": [upstream],
        "listeners": [{"address": "127.0.0.1:80", "connections": 2}],
        "limits": [{"name": "each", "store": "local", "mode": "enforce", "keys": 3, "decisions": {"allowed": 7, "refused": 1}}]});
    let history = json!([{"time": 1000, "routes": {"a": [0, 0, 0, 10]}}]);
    let now = clock::now();
    let told = json!({"time": 1000, "period_seconds": 1.0, "bounds_seconds": [0.001, 0.01], "status": status, "history": history});
    model.hear("snapshot", told, now);
    let changes = json!({"time": 2000, "routes": {"a": [2, 1, 1, 8, 2, 2], "none": [1, 0, 0, 1]},
        "status": {"draining": true, "uptime_seconds": 101},
        "upstreams": {"u": {"addresses": {"1": {"state": "ejected", "why": "3 failures", "requests": 30}, "0": {"requests": 15}}}}});
    model.hear("frame", changes, now);
    model
}

#[test]
fn whoever_applies_the_changes_knows_the_state() {
    let mut model = known();
    let upstream = model.status()["upstreams"][0].clone();
    assert_eq!((&model.status()["draining"], &upstream["addresses"][1]["state"]), (&json!(true), &json!("ejected")));
    assert_eq!(model.routes(), ["a", "b", "none"]);
    assert_eq!(model.traffic(&upstream, &upstream["addresses"][0]), (10.0, 0.25));
    assert_eq!(model.traffic(&upstream, &upstream["addresses"][1]), (30.0, 0.75));
    let later = model.heard().unwrap() + Duration::from_secs(9);
    assert_eq!(model.uptime(later), Duration::from_secs(110));
    let replaced =
        json!({"time": 3000, "routes": {}, "replaced": [{"name": "u", "addresses": []}], "status": {"limits": null}});
    model.hear("frame", replaced, later);
    assert_eq!((&model.status()["upstreams"][0]["addresses"], model.status().get("limits")), (&json!([]), None));
}

#[test]
fn numbers_are_those_of_the_last_seconds() {
    let mut model = known();
    let recent = model.recent(Some("a"));
    assert_eq!((recent.requests, recent.rate, recent.client, recent.server), (20, 10.0, 0.1, 0.05));
    // The last two took longer than the last bound.
    assert_eq!((recent.p50, recent.p99), (Some(0.001), Some(0.01)));
    assert_eq!((model.recent(Some("b")), model.recent(None).requests), (Recent::default(), 21));
    model.hear("frame", json!({"time": 11_500, "routes": {"b": [0, 0, 1, 1]}}), clock::now());
    assert_eq!(model.recent(Some("a")).requests, 10, "the first of them is long ago");
    assert!((model.recent(Some("b")).p50.unwrap() - 0.0055).abs() < 1e-9);
}

#[test]
fn what_makes_no_sense_is_passed_over() {
    let mut model = Model::default();
    let odd = [
        json!(null),
        json!([]),
        json!({"status": 7, "history": {}, "bounds_seconds": "x"}),
        json!({"upstreams": {"u": 1}}),
    ];
    for (name, data) in odd.into_iter().flat_map(|data| [("snapshot", data.clone()), ("frame", data), ("x", json!(1))])
    {
        model.hear(name, data, clock::now());
    }
    let routes = json!({"time": 1, "routes": {"a": [1], "b": "x", "c": [0, 0, 99, 5], "d": [0, 0, -1, 7]}});
    model.hear("frame", routes, clock::now());
    assert_eq!((model.routes(), model.recent(None).p99), (Vec::<String>::new(), None));
}
