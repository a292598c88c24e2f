//! What is found, what is not any more, and how much it takes.

use bytes::Bytes;

use super::*;
use crate::base::clock;
use crate::layers::cache::entry::tests::meta;
use crate::layers::cache::key;

fn store(memory: u64) -> Arc<Store> {
    Store::new(&CachePolicy { memory, max_object: memory / 16, ..CachePolicy::default() }, &Recorder::default())
}

fn entry(store: &Store, key: &Key, lines: &[(&'static str, &str)], request: &HeaderMap, body: &'static str) -> Ticket {
    let ticket = store.ticket(key);
    let mut meta = meta(lines, request);
    meta.stamp = ticket.stamp;
    store.put(key.bytes(), ticket, Entry { meta: Arc::new(meta), body: Bytes::from_static(body.as_bytes()) }, None);
    ticket
}

fn body(store: &Store, key: &Key, request: &HeaderMap) -> Option<Bytes> {
    match store.find(key, request) {
        Found::Entry(entry) => Some(entry.body),
        _ => None,
    }
}

fn fields(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, value.parse().unwrap());
    headers
}

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("surrogate-key", "a b")];

#[test]
fn what_was_stored_is_found_and_what_changed_is_not() {
    let (store, none) = (store(1 << 20), HeaderMap::new());
    let (one, other) = (key::of_test("r", "/1"), key::of_test("r", "/2"));
    entry(&store, &one, FRESH, &none, "one");
    entry(&store, &other, FRESH, &none, "other");
    assert_eq!((body(&store, &one, &none).unwrap(), store.len()), ("one".into(), 2));
    store.invalidate(one.url());
    assert!(body(&store, &one, &none).is_none() && body(&store, &other, &none).is_some());
    entry(&store, &one, FRESH, &none, "new");
    assert_eq!(body(&store, &one, &none).unwrap(), "new");
}

#[test]
fn what_was_asked_for_before_a_change_is_void_when_it_comes() {
    let (store, none, key) = (store(1 << 20), HeaderMap::new(), key::of_test("r", "/"));
    let ticket = store.ticket(&key);
    store.invalidate(key.url());
    let late = Entry { meta: Arc::new(meta(FRESH, &none)), body: Bytes::new() };
    store.put(key.bytes(), ticket, late.clone(), None);
    assert!(matches!(store.find(&key, &none), Found::Nothing));
    let ticket = store.ticket(&key);
    store.purge(|_, _| false, None);
    store.put(key.bytes(), ticket, late, None);
    assert!(matches!(store.find(&key, &none), Found::Nothing));
}

#[test]
fn responses_to_different_requests_stand_side_by_side_up_to_a_number() {
    let (store, key) = (store(1 << 20), key::of_test("r", "/"));
    let varying: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("vary", "x")];
    for number in 0..VARIANTS + 3 {
        entry(&store, &key, varying, &fields("x", &number.to_string()), "body");
    }
    let there = |number: usize| body(&store, &key, &fields("x", &number.to_string())).is_some();
    assert!(!there(0) && !there(2) && there(3) && there(VARIANTS + 2));
    assert!(matches!(store.find(&key, &fields("x", "none")), Found::Others));
    entry(&store, &key, varying, &fields("x", "5"), "newer");
    assert_eq!(body(&store, &key, &fields("x", "5")).unwrap(), "newer");
    assert!(there(3), "one took the place of its own kind");
}

#[test]
fn purges_take_out_what_matches_or_make_it_stale() {
    let (store, none) = (store(1 << 20), HeaderMap::new());
    let (one, other) = (key::of_test("r", "/1"), key::of_test("r", "/2"));
    entry(&store, &one, FRESH, &none, "one");
    entry(&store, &other, FRESH, &none, "other");
    let now = clock::now();
    assert_eq!(store.purge(|key, _| key == one.bytes(), Some(now)), 1);
    let Found::Entry(stale) = store.find(&one, &none) else { panic!("it is gone") };
    assert!(!stale.meta.is_fresh(now));
    assert_eq!(store.purge(|_, entry| entry.meta.tags.iter().any(|tag| &**tag == "b"), None), 2);
    assert!(store.is_empty());
}

#[test]
fn it_takes_no_more_than_it_may() {
    let (store, none) = (store(1 << 20), HeaderMap::new());
    for number in 0..5000 {
        entry(
            &store,
            &key::of_test("r", &format!("/{number}")),
            FRESH,
            &none,
            "0123456789012345678901234567890123456789",
        );
        assert!(store.bytes() <= 1 << 20);
    }
    assert!(store.len() > 100);
    store.resize(&CachePolicy { memory: 1 << 18, max_object: 1 << 14, ..CachePolicy::default() });
    assert!(store.bytes() <= 1 << 18);
}

#[test]
fn keys_that_cannot_be_shared_are_remembered_for_a_while() {
    let (store, now) = (store(1 << 20), clock::now());
    assert!(!store.is_unshared(b"k", now));
    store.note_shared(b"k", false, now);
    assert!(store.is_unshared(b"k", now) && !store.is_unshared(b"k", now + UNSHARED_FOR));
    store.note_shared(b"k", true, now);
    assert!(!store.is_unshared(b"k", now));
}
