//! What passes the checks of claims, and what does not: by table, and for any claims at all.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::layers::auth::testing::NOW;

fn rules() -> ClaimRules {
    ClaimRules {
        issuer: Some("https://i/".to_owned()),
        audience: vec!["a".to_owned(), "b".to_owned()],
        required: vec!["tenant.id".to_owned()],
        max_lifetime: Duration::from_secs(3600),
        ..ClaimRules::default()
    }
}

fn good() -> Value {
    json!({
        "iss": "https://i/", "aud": "a", "sub": "s", "jti": "j", "tenant": {"id": 1},
        "exp": NOW + 600, "nbf": NOW, "iat": NOW,
    })
}

fn verdict(name: &str, value: &Value) -> Result<(), Failure> {
    let mut claims = good();
    match value {
        Value::String(text) if text == "absent" => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value.clone(),
    }
    check(claims.as_object().unwrap(), &rules(), NOW)
}

#[test]
fn good_claims_pass() {
    for (name, value) in [
        ("aud", json!(["x", "b"])),
        ("exp", json!(NOW - 29)),
        ("exp", json!(NOW as f64 + 0.5)),
        ("nbf", json!(NOW + 30)),
        ("iat", json!(NOW + 30)),
        ("nbf", json!("absent")),
        ("iat", json!("absent")),
        ("nbf", json!(null)),
        ("sub", json!("absent")),
        ("iat", json!(NOW - 3000)),
        ("anything", json!([1, {"a": null}])),
    ] {
        assert_eq!(verdict(name, &value), Ok(()), "{name} {value}");
    }
}

#[test]
fn wrong_types_are_wrong() {
    for (name, values) in [
        ("exp", vec![json!("1900000000"), json!(true), json!([NOW]), json!({}), json!(-1), json!(1e300), json!(-0.5)]),
        ("nbf", vec![json!("0"), json!(false), json!([]), json!(-5)]),
        ("iat", vec![json!("0"), json!({}), json!(-5)]),
        ("iss", vec![json!(5), json!(["https://i/"]), json!({})]),
        ("aud", vec![json!(5), json!({}), json!(["a", 5]), json!([["a"]])]),
        ("sub", vec![json!(5), json!([]), json!({})]),
        ("jti", vec![json!(5), json!([])]),
    ] {
        for value in values {
            assert_eq!(verdict(name, &value), Err(Failure::ClaimType(name)), "{name} {value}");
        }
    }
}

#[test]
fn each_check_refuses_what_it_is_for() {
    let missing = |name: &str| Failure::MissingClaim(name.to_owned());
    for (name, value, failure) in [
        ("exp", json!("absent"), missing("exp")),
        ("exp", json!(null), missing("exp")),
        ("exp", json!(NOW - 30), Failure::Expired(30)),
        ("exp", json!(0), Failure::Expired(NOW)),
        ("nbf", json!(NOW + 31), Failure::NotYetValid(31)),
        ("iat", json!(NOW + 31), Failure::IssuedInFuture(31)),
        ("exp", json!(NOW + 3601), Failure::Lifetime),
        ("exp", json!(u64::MAX), Failure::Lifetime),
        ("iss", json!("absent"), missing("iss")),
        ("iss", json!("https://i"), Failure::Issuer),
        ("iss", json!(""), Failure::Issuer),
        ("aud", json!("absent"), missing("aud")),
        ("aud", json!([]), missing("aud")),
        ("aud", json!("A"), Failure::Audience),
        ("aud", json!(["c", "ab"]), Failure::Audience),
        ("tenant", json!("absent"), missing("tenant.id")),
        ("tenant", json!({"id": null}), missing("tenant.id")),
    ] {
        assert_eq!(verdict(name, &value), Err(failure), "{name} {value}");
    }
}

#[test]
fn a_token_without_iat_must_not_have_long_to_live() {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove("iat");
    claims["exp"] = json!(NOW + 30 + 3600);
    assert_eq!(check(claims.as_object().unwrap(), &rules(), NOW), Ok(()));
    claims["exp"] = json!(NOW + 30 + 3601);
    assert_eq!(check(claims.as_object().unwrap(), &rules(), NOW), Err(Failure::Lifetime));
}

#[test]
fn what_was_issued_before_a_moment_is_taken_back() {
    let mut rules = rules();
    rules.revoked_before.insert("s".to_owned(), NOW - 100);
    let verdict = |claims: &Value| check(claims.as_object().unwrap(), &rules, NOW);
    let mut claims = good();
    assert_eq!(verdict(&claims), Ok(()));
    claims["iat"] = json!(NOW - 101);
    assert!(matches!(verdict(&claims), Err(Failure::Revoked(_))));
    claims.as_object_mut().unwrap().remove("iat");
    assert!(matches!(verdict(&claims), Err(Failure::Revoked(_))));
    claims["sub"] = json!("t");
    assert_eq!(verdict(&claims), Ok(()));
}

#[test]
fn scopes_are_words() {
    for (claims, expected) in [
        (json!({"scope": "b a  a"}), &["a", "b"][..]),
        (json!({"scp": ["c", 5, "a b"], "scope": "c d"}), &["a b", "c", "d"]),
        (json!({"scp": "x y"}), &["x", "y"]),
        (json!({"scope": ["x"]}), &["x"]),
        (json!({"scope": 5, "scp": {}}), &[]),
    ] {
        let found: Vec<Box<str>> = scopes(claims.as_object().unwrap());
        assert_eq!(found.iter().map(AsRef::as_ref).collect::<Vec<_>>(), expected, "{claims}");
    }
}

/// Values that claims have, or should not have.
fn any_value() -> impl Strategy<Value = Value> {
    let moment = prop_oneof![Just(NOW), (NOW - 100)..(NOW + 100), (NOW - 5000)..(NOW + 5000), any::<u64>()];
    prop_oneof![
        4 => moment.prop_map(|moment| json!(moment)),
        1 => any::<f64>().prop_map(|number| json!(number)),
        1 => any::<i64>().prop_map(|number| json!(number)),
        2 => prop::sample::select(vec!["https://i/", "a", "b", "", "x"]).prop_map(|text| json!(text)),
        1 => prop::collection::vec(prop::sample::select(vec!["a", "c"]), 0..3).prop_map(|list| json!(list)),
        1 => Just(json!({"id": 1})),
        1 => Just(Value::Null),
        1 => Just(json!(true)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    /// Claims that pass are those that a plainer reading lets pass too.
    #[test]
    fn nothing_passes_that_should_not(
        changes in prop::collection::vec(
            (prop::sample::select(vec!["exp", "nbf", "iat", "iss", "aud", "sub", "jti", "tenant"]), any_value()),
            0..3,
        ),
        leeway in 0..100_u64,
    ) {
        let mut claims = good();
        for (name, value) in changes {
            claims[name] = value;
        }
        let claims = claims.as_object().unwrap();
        let rules = ClaimRules { leeway: Duration::from_secs(leeway), ..rules() };
        let number = |name: &str| claims.get(name).and_then(Value::as_f64);
        let (now, leeway) = (NOW as f64, leeway as f64);
        let times = number("exp").is_some_and(|exp| exp.floor() + leeway > now)
            && number("nbf").is_none_or(|nbf| nbf.floor() <= now + leeway)
            && number("iat").is_none_or(|iat| iat.floor() <= now + leeway);
        let audience = match &claims["aud"] {
            Value::String(one) => one == "a" || one == "b",
            Value::Array(list) => list.iter().any(|one| one == "a" || one == "b"),
            _ => false,
        };
        let passes = check(claims, &rules, NOW).is_ok();
        prop_assert!(!passes || times && audience && claims["iss"] == "https://i/" && !claims["tenant"]["id"].is_null());
        if passes {
            // What passes now passes until it is over, and not a second longer.
            let end = over(claims, &rules);
            prop_assert!(end > NOW);
            prop_assert!(matches!(check(claims, &rules, end), Err(Failure::Expired(_))));
            prop_assert!(check(claims, &rules, end - 1).is_ok());
        }
    }
}
