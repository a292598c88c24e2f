//! The gate: limits taken together, given back, only looked at, kept over reloads. The periods are so long that nothing
//! comes back while a test runs.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::RETRY_AFTER;

use super::limit::Limit;
use super::memory::Memories;
use super::policy::{KeyPart, LimitPolicy, Measure, RatePolicy, Rates, Scope, Style};
use super::*;
use crate::base::body::RequestBody;
use crate::base::client::Client;
use crate::base::exchange::{Exchange, Origin};
use crate::base::identity::Identity;
use crate::base::mode::Mode;
use crate::base::request::Refused;

fn rated(name: &str, rate: &str) -> LimitPolicy {
    LimitPolicy::new(name, Measure::Rate(RatePolicy::new(Rates::One(rate.parse().unwrap()))))
}

fn keyed(mut policy: LimitPolicy, key: KeyPart) -> LimitPolicy {
    policy.key = vec![key];
    policy
}

/// A gate of these limits, with their costs. No others follow.
fn gate(memories: &Memories, limits: &[(&LimitPolicy, u32)]) -> RateLimit {
    standing(Standing::Early { alone: true }, memories, limits)
}

fn standing(standing: Standing, memories: &Memories, limits: &[(&LimitPolicy, u32)]) -> RateLimit {
    let bound = |(policy, cost): &(&LimitPolicy, u32)| {
        let limit = Limit::start(&Arc::new((*policy).clone()), memories, None);
        limit.memory.set_max_keys(policy.max_keys);
        Bound::new(limit, *cost, "orders")
    };
    let bounds = limits.iter().map(bound).collect();
    RateLimit::new(bounds, standing, &"orders".into(), &Arc::default(), &Arc::default())
}

fn request(client: &str) -> Request {
    let (head, ()) = http::Request::new(()).into_parts();
    let peer: IpAddr = client.parse().unwrap();
    let origin = Origin { peer: (peer, 1).into(), trusted: false, scheme: "http", worker: 0 };
    let mut exchange = Box::new(Exchange::new(origin, Client::new(peer, Vec::new()).begin(false), clock::now(), &head));
    exchange.route = Some("orders".into());
    Request { head: Box::new(head), body: RequestBody::EMPTY, exchange }
}

/// Whether a request from there passes.
fn passes(gate: &RateLimit, client: &str) -> bool {
    gate.check(&mut request(client)).is_ok()
}

/// The fields that the response to a request will have.
fn told(request: &Request) -> HeaderMap {
    let mut fields = HeaderMap::new();
    answer::tell(&request.exchange.met, &mut fields);
    fields
}

/// The same of a request from there, which passes.
fn passes_with(gate: &RateLimit, client: &str) -> HeaderMap {
    let mut request = request(client);
    gate.check(&mut request).unwrap();
    told(&request)
}

#[test]
fn a_client_gets_what_it_may_and_hears_what_is_left() {
    let memories = Memories::default();
    let gate = gate(&memories, &[(&rated("per-client", "3/h"), 1)]);
    for left in [2, 1, 0] {
        let fields = passes_with(&gate, "10.0.0.1");
        assert_eq!(fields["ratelimit-policy"], "\"per-client\";q=3;w=3600");
        assert_eq!(fields["ratelimit"], format!("\"per-client\";r={left};t={}", 3600 - left * 1200));
    }
    let mut late = request("10.0.0.1");
    let refused = gate.check(&mut late).unwrap_err();
    assert_eq!(refused.reason, Reason::RateLimited);
    assert_eq!(refused.fields, [(RETRY_AFTER, "1200".parse().unwrap())]);
    assert_eq!(told(&late)["ratelimit"], "\"per-client\";r=0;t=1200");
    assert_eq!(late.exchange.limit().map(|name| &**name), Some("per-client"));
    assert!(passes(&gate, "10.0.0.2"), "another client is another one");
}

#[test]
fn a_limit_says_the_same_alone_and_in_company() {
    for style in [Style::Draft, Style::Legacy, Style::Off] {
        let mut limit = rated("limit", "5/h");
        limit.headers = style;
        let mut onlooker = rated("onlooker", "1000/h");
        onlooker.mode = Mode::Observe;
        let (here, there) = (Memories::default(), Memories::default());
        let alone = gate(&here, &[(&limit, 2)]);
        let beside = gate(&there, &[(&limit, 2), (&onlooker, 1)]);
        for round in 0..3 {
            let said = [&alone, &beside].map(|gate| {
                let mut request = request("10.0.0.1");
                request.exchange.logged = true;
                let outcome = gate.check(&mut request).map_or_else(|reject| Some(reject.fields), |_| None);
                (outcome, request.exchange.limit().cloned(), told(&request))
            });
            assert_eq!(said[0], said[1], "{style:?}, {round}");
            assert_eq!(said[0].0.is_none(), round < 2);
        }
        let counts = |memories: &Memories| {
            let memory = memories.get("limit", 1);
            let counts = memory.counts.of(Mode::Enforce);
            (counts.allowed.load(Ordering::Relaxed), counts.refused.load(Ordering::Relaxed))
        };
        assert_eq!((counts(&here), counts(&there)), ((2, 1), (2, 1)));
    }
}

#[test]
fn what_one_refuses_costs_nothing_of_the_others() {
    let memories = Memories::default();
    let (wide, narrow) = (rated("wide", "10/h"), keyed(rated("narrow", "1/h"), KeyPart::Global));
    let both = gate(&memories, &[(&wide, 1), (&narrow, 1)]);
    let turned = gate(&memories, &[(&narrow, 1), (&wide, 1)]);
    assert!(passes(&both, "10.0.0.1"));
    for _ in 0..50 {
        assert!(!passes(&both, "10.0.0.1") && !passes(&turned, "10.0.0.1"));
    }
    let alone = gate(&memories, &[(&wide, 1)]);
    let left = (0..20).filter(|_| passes(&alone, "10.0.0.1")).count();
    assert_eq!(left, 9, "one was taken, by the request that passed");
}

#[test]
fn many_threads_take_no_more_than_there_is_from_several_limits_at_once() {
    let memories = Memories::default();
    let (one, two) = (keyed(rated("one", "700/h"), KeyPart::Global), keyed(rated("two", "500/h"), KeyPart::Global));
    let (here, there) = (gate(&memories, &[(&one, 1), (&two, 1)]), gate(&memories, &[(&two, 1), (&one, 1)]));
    let passed: usize = std::thread::scope(|scope| {
        let run = |gate| scope.spawn(move || (0..1000).filter(|_| passes(gate, "10.0.0.1")).count());
        let running = [run(&here), run(&there), run(&here), run(&there)];
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 500);
    let left = (0..1000).filter(|_| passes(&gate(&memories, &[(&one, 1)]), "10.0.0.1")).count();
    assert_eq!(left, 200);
}

#[test]
fn what_an_inner_limit_refuses_is_given_back_by_the_outer_one() {
    let memories = Memories::default();
    let outer = standing(Standing::Early { alone: false }, &memories, &[(&rated("outer", "5/h"), 2)]);
    for _ in 0..10 {
        let mut request = request("10.0.0.1");
        let passed = outer.check(&mut request).unwrap();
        assert!(outer.finishes(&passed));
        let reject = Box::new(Reject::new(Reason::RateLimited, "an inner one"));
        let mut outcome = Err(Refused { reject, exchange: request.exchange });
        outer.finish(passed, &mut outcome);
        let refused = outcome.unwrap_err();
        assert_eq!(refused.exchange.met.len(), 1, "which tells of it all the same");
    }
    // What something else refuses is paid for all the same.
    for _ in 0..2 {
        let passed = outer.check(&mut request("10.0.0.1")).unwrap();
        let reject = Box::new(Reject::new(Reason::TokenInvalid, "forged"));
        outer.finish(passed, &mut Err(Refused { reject, exchange: request("10.0.0.1").exchange }));
    }
    assert!(!passes(&outer, "10.0.0.1"));
}

#[test]
fn one_that_only_looks_refuses_nothing_and_takes_nothing_from_the_others() {
    let memories = Memories::default();
    let mut watched = keyed(rated("watched", "1/h"), KeyPart::Global);
    watched.mode = Mode::Observe;
    let gate = gate(&memories, &[(&watched, 1), (&rated("real", "3/h"), 1)]);
    assert!(passes(&gate, "10.0.0.1"));
    let mut over = request("10.0.0.1");
    gate.check(&mut over).unwrap();
    assert_eq!(over.exchange.answer.cause.as_deref(), Some("limit watched: used up (observed)"));
    assert_eq!(told(&over)["ratelimit"], "\"real\";r=1;t=2400", "nobody is told of it");
    assert!(passes(&gate, "10.0.0.1") && !passes(&gate, "10.0.0.1"));
    let counts = |name| {
        let memory = memories.get(name, 1);
        let status = memory.counts.of(if name == "watched" { Mode::Observe } else { Mode::Enforce });
        (status.allowed.load(Ordering::Relaxed), status.refused.load(Ordering::Relaxed))
    };
    assert_eq!((counts("watched"), counts("real")), ((1, 3), (3, 1)));
}

#[test]
fn requests_at_a_time_are_counted_by_key_until_they_end() {
    let memories = Memories::default();
    let gate = gate(&memories, &[(&LimitPolicy::new("inside", Measure::InFlight(2)), 1)]);
    let (mut one, mut two, mut three) = (request("10.0.0.1"), request("10.0.0.1"), request("10.0.0.1"));
    gate.check(&mut one).unwrap();
    assert_eq!(told(&one)["ratelimit-policy"], "\"inside\";q=2;qu=\"concurrent-requests\"");
    assert_eq!(told(&one)["ratelimit"], "\"inside\";r=1");
    assert!(gate.check(&mut two).is_ok());
    let refused = gate.check(&mut three).unwrap_err();
    assert_eq!((refused.reason, refused.fields[0].1.to_str().unwrap()), (Reason::RateLimited, "1"));
    assert!(passes(&gate, "10.0.0.2"));
    drop(two);
    assert!(gate.check(&mut three).is_ok());
    drop((one, three));
    assert_eq!(memories.get("inside", 1).keys(), 0, "nobody is remembered who is not inside");
}

#[test]
fn a_place_inside_is_not_taken_by_what_another_limit_refuses() {
    let memories = Memories::default();
    let (inside, rate) = (LimitPolicy::new("inside", Measure::InFlight(1)), rated("rate", "1/h"));
    let gate = gate(&memories, &[(&inside, 1), (&rate, 1)]);
    drop(request("10.0.0.1"));
    assert!(passes(&gate, "10.0.0.1"));
    assert!(!passes(&gate, "10.0.0.1"));
    assert_eq!(memories.get("inside", 1).keys(), 0);
}

#[test]
fn a_name_is_one_count_unless_each_route_has_its_own() {
    let memories = Memories::default();
    let mut policy = rated("shared", "2/h");
    let _kept = memories.get("shared", 10);
    let on = |policy: &LimitPolicy, route: &str| {
        let bound = Bound::new(Limit::start(&Arc::new(policy.clone()), &memories, None), 1, route);
        RateLimit::new(vec![bound], Standing::Late, &route.into(), &Arc::default(), &Arc::default())
    };
    assert!(passes(&on(&policy, "a"), "10.0.0.1") && passes(&on(&policy, "b"), "10.0.0.1"));
    assert!(!passes(&on(&policy, "a"), "10.0.0.1") && !passes(&on(&policy, "b"), "10.0.0.1"));
    policy.per = Scope::Route;
    for route in ["a", "b"] {
        let gate = on(&policy, route);
        assert!(passes(&gate, "10.0.0.1") && passes(&gate, "10.0.0.1") && !passes(&gate, "10.0.0.1"), "{route}");
    }
}

#[test]
fn plans_have_rates_of_their_own() {
    let memories = Memories::default();
    let _kept = memories.get("plans", 10);
    let rate = |text: &str| text.parse().unwrap();
    let plans = vec![("default".to_owned(), rate("1/h")), ("gold".to_owned(), rate("4/h"))];
    let by = |claim: Option<&str>| {
        let rates = Rates::ByPlan { claim: claim.map(str::to_owned), plans: plans.clone() };
        let policy = LimitPolicy::new("plans", Measure::Rate(RatePolicy::new(rates)));
        assert!(policy.needs_identity());
        keyed(policy, KeyPart::Subject)
    };
    let count = |policy: &LimitPolicy, subject: &str, plan: Option<&str>, claims: &str| {
        let gate = gate(&memories, &[(policy, 1)]);
        let identity = Arc::new(Identity {
            subject: Some(subject.into()),
            plan: plan.map(Into::into),
            claims: serde_json::from_str(claims).unwrap(),
            ..Identity::default()
        });
        let pass = |_: &u32| {
            let mut request = request("10.0.0.1");
            request.exchange.identity = Some(identity.clone());
            gate.check(&mut request).is_ok()
        };
        (0..10).filter(pass).count()
    };
    let (by_key, by_claim) = (by(None), by(Some("tier")));
    assert_eq!(count(&by_key, "a", Some("gold"), "{}"), 4);
    assert_eq!(count(&by_key, "b", None, r#"{"tier":"gold"}"#), 1, "nobody asked for the claim");
    assert_eq!(count(&by_key, "c", Some("platinum"), "{}"), 1, "a plan that is none is the default");
    assert_eq!(count(&by_claim, "d", None, r#"{"tier":"gold"}"#), 4);
    assert_eq!(count(&by_claim, "e", Some("gold"), r#"{"tier":"default"}"#), 1, "the claim counts first");
    assert_eq!(count(&by_claim, "f", Some("gold"), "{}"), 4);
    // Who books more keeps what was used up.
    assert_eq!(count(&by_key, "c", Some("gold"), "{}"), 3);
}

#[test]
fn what_was_used_up_stays_used_up_over_a_reload() {
    let memories = Memories::default();
    let old = gate(&memories, &[(&rated("kept", "10/h"), 1)]);
    assert_eq!((0..6).filter(|_| passes(&old, "10.0.0.1")).count(), 6);
    let new = gate(&memories, &[(&rated("kept", "20/h"), 1)]);
    drop(old);
    assert_eq!((0..50).filter(|_| passes(&new, "10.0.0.1")).count(), 14);
    drop(new);
    let again = gate(&memories, &[(&rated("kept", "10/h"), 1)]);
    assert!(passes(&again, "10.0.0.1"), "what no configuration names is forgotten");
}

#[test]
fn one_that_invents_keys_gets_one_bucket_and_others_keep_theirs() {
    let memories = Memories::default();
    let mut policy = rated("few", "10/h");
    policy.max_keys = 100;
    let gate = gate(&memories, &[(&policy, 1)]);
    let known = |number: u32| format!("10.0.0.{number}");
    for number in 0..100 {
        assert!(passes(&gate, &known(number)));
    }
    let passed =
        (0..20_000_u32).filter(|number| passes(&gate, &format!("11.{}.{}.1", number >> 8, number & 255))).count();
    assert_eq!(passed, 10, "one bucket for all of them");
    assert_eq!(memories.get("few", 1).keys(), 100);
    for number in 0..100 {
        assert_eq!((0..20).filter(|_| passes(&gate, &known(number))).count(), 9, "{number}");
    }
}

#[test]
fn legacy_fields_tell_of_the_tightest_and_off_of_none() {
    let memories = Memories::default();
    let styled = |name, rate, style| {
        let mut policy = rated(name, rate);
        policy.headers = style;
        policy
    };
    let (wide, narrow) = (styled("wide", "100/h", Style::Legacy), styled("narrow", "2/h", Style::Legacy));
    let silent = styled("silent", "1/h", Style::Off);
    let legacy = gate(&memories, &[(&wide, 1), (&narrow, 1), (&silent, 1)]);
    let fields = passes_with(&legacy, "10.0.0.1");
    let field = |name: &str| fields[name].to_str().unwrap().to_owned();
    assert_eq!(
        [field("x-ratelimit-limit"), field("x-ratelimit-remaining"), field("x-ratelimit-reset")],
        ["2", "1", "1800"]
    );
    assert_eq!(fields.len(), 3);
    let mut late = request("10.0.0.1");
    let refused = legacy.check(&mut late).unwrap_err();
    assert_eq!(refused.fields, [(RETRY_AFTER, "3600".parse().unwrap())]);
    assert_eq!(told(&late)["x-ratelimit-remaining"], "1");
}

#[test]
fn limits_before_and_after_it_is_known_who_asks_are_told_of_together() {
    for (style, field, text) in [
        (Style::Draft, "ratelimit", "\"wide\";r=9;t=360, \"narrow\";r=1;t=1800"),
        (Style::Legacy, "x-ratelimit-limit", "2"),
    ] {
        let memories = Memories::default();
        let limit = |name, rate| LimitPolicy { headers: style, ..rated(name, rate) };
        let early = standing(Standing::Early { alone: false }, &memories, &[(&limit("wide", "10/h"), 1)]);
        let late = standing(Standing::Late, &memories, &[(&limit("narrow", "2/h"), 1)]);
        let mut request = request("10.0.0.1");
        request.exchange.logged = true;
        early.check(&mut request).unwrap();
        late.check(&mut request).unwrap();
        let fields = told(&request);
        assert_eq!(fields.get_all(field).iter().collect::<Vec<_>>(), [text]);
        assert_eq!(request.exchange.limit().map(|name| &**name), Some("narrow"));
    }
}

#[test]
fn who_asks_why_uses_nothing_up() {
    let memories = Memories::default();
    let gate =
        gate(&memories, &[(&rated("per-client", "3/h"), 2), (&LimitPolicy::new("inside", Measure::InFlight(1)), 1)]);
    let request = request("10.0.0.1");
    let explain = || gate.explain(Seen { exchange: &request.exchange, headers: &request.head.headers }, clock::now());
    for _ in 0..3 {
        let [rate, inside] = explain().try_into().unwrap();
        assert_eq!((rate.key.as_str(), rate.cost, rate.passes, rate.remaining), ("ip:10.0.0.1", 2, true, 1));
        assert_eq!((inside.passes, inside.remaining), (true, 0));
    }
    assert!(passes(&gate, "10.0.0.1"));
    let [rate, _] = explain().try_into().unwrap();
    assert_eq!((rate.passes, rate.remaining, rate.retry_after), (false, 1, Some(1200)));
}
