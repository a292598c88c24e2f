//! Differences are whole, and small: whoever applies them has the new state.

use std::net::SocketAddr;

use serde_json::json;

use super::*;
use crate::upstream::status::{AddressState, RetryStatus};

fn address(last: u8) -> AddressStatus {
    AddressStatus {
        address: SocketAddr::from(([10, 0, 0, last], 80)),
        state: AddressState::Healthy,
        why: None,
        ejected_seconds: None,
        has_left: false,
        weight: 1,
        priority: 0,
        in_flight: 0,
        requests: 0,
        failures: 0,
        connections: 0,
        idle: 0,
        keep_alive_ms: None,
    }
}

fn group(name: &str, lasts: impl IntoIterator<Item = u8>) -> UpstreamStatus {
    UpstreamStatus {
        name: name.to_owned(),
        addresses: lasts.into_iter().map(address).collect(),
        waiting: None,
        circuit: None,
        recent: RetryStatus { requests: 0, retries: 0 },
        dns: None,
        srv: None,
    }
}

fn changes(told: &mut Vec<UpstreamStatus>, now: &[UpstreamStatus], turn: &mut usize) -> Value {
    let mut changes = Changes::default();
    upstreams(told, now.to_vec(), turn, &mut changes);
    serde_json::to_value(changes).unwrap()
}

#[test]
fn a_merge_patch_says_what_is_new_and_what_is_gone_and_passes_over_running_times() {
    let old =
        json!({"a": 1, "gone": 1, "age_seconds": 1.0, "in": {"x": 1, "age_seconds": 1}, "list": [{"age_seconds": 1}]});
    let aged =
        json!({"a": 1, "gone": 1, "age_seconds": 2.0, "in": {"x": 1, "age_seconds": 2}, "list": [{"age_seconds": 2}]});
    assert_eq!(difference(&old, &aged), None);
    let new = json!({"a": 2, "age_seconds": 2.0, "in": {"x": 1, "age_seconds": 2}, "list": [{"age_seconds": 2}, 1]});
    let patch = json!({"a": 2, "gone": null, "age_seconds": 2.0, "list": [{"age_seconds": 2}, 1]});
    assert_eq!(difference(&old, &new), Some(patch));
    let ended = json!({"a": 1, "gone": 1, "in": {"x": 1}, "list": [{"age_seconds": 1}]});
    assert_eq!(difference(&old, &ended), Some(json!({"age_seconds": null, "in": {"age_seconds": null}})));
}

#[test]
fn only_addresses_that_have_changed_are_told_of() {
    let mut told = vec![group("a", 0..50), group("b", 0..50)];
    let mut now = told.clone();
    assert_eq!(changes(&mut told, &now, &mut 0), json!({}));
    now[1].addresses[7].requests = 3;
    now[1].addresses[9].state = AddressState::Ejected;
    now[1].addresses[9].ejected_seconds = Some(4.5);
    now[1].addresses[9].why = Some("connection refused".to_owned());
    let ejected = json!({"state": "ejected", "why": "connection refused", "ejected_seconds": 4.5});
    let expected = json!({"upstreams": {"b": {"addresses": {"7": {"requests": 3}, "9": ejected}}}});
    assert_eq!(changes(&mut told, &now, &mut 0), expected);
    now[1].addresses[9].ejected_seconds = Some(3.5);
    assert_eq!(changes(&mut told, &now, &mut 0), json!({}), "a time that runs on");
    now[0].recent.requests = 1;
    now[1].addresses.pop();
    let difference = changes(&mut told, &now, &mut 0);
    assert_eq!(difference["upstreams"], json!({"a": {"recent": {"requests": 1}}}));
    assert_eq!(difference["replaced"][0]["addresses"].as_array().unwrap().len(), 49);
    assert_eq!(changes(&mut told, &now, &mut 0), json!({}));
}

#[test]
fn a_frame_has_room_for_so_many_counts_and_the_rest_takes_its_turn() {
    let mut told: Vec<_> = (0..500).map(|number| group(&format!("{number:03}"), 0..50)).collect();
    let mut now = told.clone();
    for address in now.iter_mut().flat_map(|upstream| &mut upstream.addresses) {
        address.requests = 1;
    }
    now[499].addresses[49].state = AddressState::Unhealthy;
    let (mut turn, mut seen) = (0, 0);
    for frame in 0..26 {
        let difference = changes(&mut told, &now, &mut turn);
        let upstreams = difference["upstreams"].as_object().cloned().unwrap_or_default();
        let count: usize = upstreams.values().map(|one| one["addresses"].as_object().unwrap().len()).sum();
        assert!(count <= ROOM + 1 && difference.to_string().len() < 64 * 1024, "{count}");
        if frame == 0 {
            assert_eq!(upstreams["499"]["addresses"]["49"]["state"], "unhealthy", "states wait for nobody");
        }
        seen += count;
    }
    assert_eq!((seen, changes(&mut told, &now, &mut turn)), (25_000, json!({})));
    assert_eq!(told, now);
}
