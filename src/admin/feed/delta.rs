//! What is different between two states, as small as it can be said. Times that only run on, such as the age of an answer,
//! are no difference: whoever was told of them once can count. Addresses are compared as they are, and only those that
//! differ are written, since there may be tens of thousands.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::admin::status::Status;
use crate::upstream::resolve::Status as NameStatus;
use crate::upstream::services::ServiceStatus;
use crate::upstream::status::{AddressStatus, UpstreamStatus};

/// Addresses in one frame of which only numbers have changed. What has no room goes into the next ones, in turn.
pub(super) const ROOM: usize = 1000;
/// Members that run on by themselves. They are told with whatever else has changed beside them.
const RUNNING: &[&str] =
    &["uptime_seconds", "age_seconds", "next_refresh_seconds", "open_for_seconds", "ejected_seconds"];

/// The difference between two states.
#[derive(Debug, Default, Serialize)]
pub(super) struct Changes {
    /// Of everything but the upstreams: a merge patch (RFC 7396).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Value>,
    /// Upstreams with the same addresses as before, by name: a merge patch, in which addresses are members, by their
    /// places in the list.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) upstreams: BTreeMap<String, Map<String, Value>>,
    /// Upstreams with other addresses, whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) replaced: Vec<UpstreamStatus>,
}

/// Everything but the upstreams, which are left in the second place.
pub(super) fn general(mut status: Status) -> (Value, Vec<UpstreamStatus>) {
    let upstreams = std::mem::take(&mut status.upstreams);
    let mut value = written(&status);
    if let Some(members) = value.as_object_mut() {
        members.remove("upstreams");
    }
    (value, upstreams)
}

/// The merge patch from `old` to `new`; none where they differ at most in times that run on.
pub(super) fn difference(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return (!same(old, new)).then(|| new.clone());
    };
    let mut patch = Map::new();
    for (name, value) in after.iter().filter(|(name, _)| !RUNNING.contains(&name.as_str())) {
        let changed = before.get(name).map_or_else(|| Some(value.clone()), |old| difference(old, value));
        patch.extend(changed.map(|value| (name.clone(), value)));
    }
    patch.extend(before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), Value::Null)));
    if patch.is_empty() {
        return None;
    }
    patch.extend(RUNNING.iter().filter_map(|&name| Some((name.to_owned(), after.get(name)?.clone()))));
    Some(Value::Object(patch))
}

/// Whether two values are the same, times that run on aside.
fn same(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            let runs = |name: &String| RUNNING.contains(&name.as_str());
            let known = |(name, value): (&String, &Value)| {
                runs(name) || before.get(name).is_some_and(|before| same(before, value))
            };
            after.iter().all(known) && before.keys().all(|name| runs(name) || after.contains_key(name))
        }
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len() && before.iter().zip(after).all(|(before, after)| same(before, after))
        }
        _ => old == new,
    }
}

/// Adds what is different between the upstreams that were `told` of and those `now`, and remembers what was said. Both
/// are of one snapshot, so that they are the same ones in the same order. `turn` is where the last call ran out of room.
pub(super) fn upstreams(
    told: &mut Vec<UpstreamStatus>,
    now: Vec<UpstreamStatus>,
    turn: &mut usize,
    changes: &mut Changes,
) {
    if told.len() != now.len() {
        changes.replaced = now.clone();
        *told = now;
        return;
    }
    let (count, mut room) = (now.len(), ROOM);
    let mut ahead: Vec<Option<UpstreamStatus>> = now.into_iter().map(Some).collect();
    let begin = *turn;
    for at in (0..count).map(|step| (begin + step) % count) {
        let (Some(old), Some(new)) = (told.get_mut(at), ahead.get_mut(at).and_then(Option::take)) else { continue };
        let had_room = room > 0;
        upstream(old, new, &mut room, changes);
        if had_room && room == 0 {
            *turn = at;
        }
    }
}

fn upstream(told: &mut UpstreamStatus, mut now: UpstreamStatus, room: &mut usize, changes: &mut Changes) {
    let place = |one: &AddressStatus| (one.address, one.has_left);
    if !told.addresses.iter().map(place).eq(now.addresses.iter().map(place)) {
        changes.replaced.push(now.clone());
        *told = now;
        return;
    }
    let (mut known, fresh) = (std::mem::take(&mut told.addresses), std::mem::take(&mut now.addresses));
    let mut patch = head(told, &now);
    let mut addresses = Map::new();
    for (at, (old, new)) in known.iter_mut().zip(fresh).enumerate() {
        match compared(old, &new) {
            Compared::Same => continue,
            Compared::Counts if *room == 0 => continue,
            Compared::Counts => *room -= 1,
            Compared::Different => {}
        }
        let difference = difference(&written(old), &written(&new));
        addresses.extend(difference.map(|difference| (at.to_string(), difference)));
        *old = new;
    }
    if !addresses.is_empty() {
        patch.insert("addresses".to_owned(), Value::Object(addresses));
    }
    if !patch.is_empty() {
        changes.upstreams.insert(now.name.clone(), patch);
    }
    *told = UpstreamStatus { addresses: known, ..now };
}

/// What is different between two upstreams, their addresses aside.
fn head(old: &UpstreamStatus, new: &UpstreamStatus) -> Map<String, Value> {
    let state = |one: &UpstreamStatus| one.circuit.map(|circuit| circuit.state);
    let like = (old.waiting, old.recent, state(old)) == (new.waiting, new.recent, state(new))
        && old.dns.as_ref().map(at_rest) == new.dns.as_ref().map(at_rest)
        && old.srv.as_ref().map(service_at_rest) == new.srv.as_ref().map(service_at_rest);
    match (!like).then(|| difference(&written(old), &written(new))).flatten() {
        Some(Value::Object(patch)) => patch,
        _ => Map::new(),
    }
}

/// What is known of a name, without the times that run on.
fn at_rest<T: Clone>(name: &NameStatus<T>) -> NameStatus<T> {
    NameStatus { age_seconds: None, next_refresh_seconds: 0.0, ..name.clone() }
}

fn service_at_rest(service: &ServiceStatus) -> ServiceStatus {
    let targets = service.targets.iter().map(at_rest).collect();
    ServiceStatus { age_seconds: None, next_refresh_seconds: 0.0, targets, ..service.clone() }
}

/// How two states of an address compare.
enum Compared {
    Same,
    /// Requests have come and gone, nothing else.
    Counts,
    Different,
}

fn compared(old: &AddressStatus, new: &AddressStatus) -> Compared {
    let standing = |one: &AddressStatus| (one.state, one.weight, one.priority);
    let counts =
        |one: &AddressStatus| (one.in_flight, one.requests, one.failures, one.connections, one.idle, one.keep_alive_ms);
    match (standing(old) == standing(new) && old.why == new.why, counts(old) == counts(new)) {
        (true, true) => Compared::Same,
        (true, false) => Compared::Counts,
        (false, _) => Compared::Different,
    }
}

fn written(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;
