//! What is read from `Cache-Control` and `CDN-Cache-Control`.

use super::*;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn response(lines: &[&str]) -> ResponseDirectives {
    ResponseDirectives::of(&headers(&lines.iter().map(|line| ("cache-control", *line)).collect::<Vec<_>>()))
}

fn request(line: &str) -> RequestDirectives {
    RequestDirectives::of(&headers(&[("cache-control", line)]))
}

#[test]
fn directives_are_read_in_any_case_from_all_lines() {
    let read = response(&["Max-Age=60 ,foobar, NO-store", "s-maxage=7,PRIVATE,must-revalidate, ,"]);
    assert!(read.no_store && read.private && read.must_revalidate && !read.no_cache && !read.targeted);
    assert_eq!((read.max_age, read.s_maxage), (Some(60), Some(7)));
}

#[test]
fn freshness_that_cannot_be_read_is_none() {
    for (text, expected) in [
        ("max-age=003600", 3600),
        ("max-age=\"3600\"", 3600),
        ("max-age=99999999999", 1 << 31),
        ("max-age=-1", 0),
        ("max-age='60'", 0),
        ("max-age=60.0", 0),
        ("max-age=60a", 0),
        ("max-age=a60", 0),
        ("max-age", 0),
        ("max-age=", 0),
        ("max-age =60", 0),
        ("max-age= 60", 0),
        ("max-age=\"60", 0),
        ("max-age=1, max-age=60", 1),
        ("extension=\"max-age=3600, a\", max-age=1", 1),
        ("max-age=1, extension=\"\\\", max-age=3600\"", 1),
    ] {
        assert_eq!(response(&[text]).max_age, Some(expected), "{text}");
    }
    assert_eq!(response(&["extension=\"max-age=3600\""]).max_age, None);
}

#[test]
fn named_fields_are_withheld_and_the_rest_is_not() {
    let read = response(&["no-cache=\"A, set-cookie\", private=x-user"]);
    assert!(!read.no_cache && !read.private);
    assert_eq!(read.withheld, ["a", "set-cookie", "x-user"].map(HeaderName::from_static));
    for text in ["no-cache=\"\"", "no-cache=\"a:b\"", "no-cache", "no-cache=\"a", "no-cache="] {
        assert!(response(&[text]).no_cache, "{text}");
    }
}

#[test]
fn requests_say_what_they_take() {
    let all = request("no-cache, no-store, only-if-cached, max-age=5, min-fresh=6, max-stale=7");
    assert!(all.no_cache && all.no_store && all.only_if_cached);
    assert_eq!((all.max_age, all.min_fresh, all.max_stale), (Some(5), Some(6), Some(7)));
    assert_eq!(request("max-stale").max_stale, Some(u64::MAX));
    assert_eq!(request("max-stale=x").max_stale, None);
    assert_eq!(request("max-age=x").max_age, Some(0));
    assert_eq!(request("nothing-to-see-here"), RequestDirectives::default());
}

#[test]
fn a_valid_targeted_field_speaks_instead() {
    let read =
        |cdn: &str| ResponseDirectives::of(&headers(&[("cache-control", "no-store"), ("cdn-cache-control", cdn)]));
    let valid = read("max-age=60, private, foobar;x=1");
    assert!(valid.targeted && valid.private && !valid.no_store);
    assert_eq!(valid.max_age, Some(60));
    for invalid in ["", "max-age=60, &&&", "max-age=\"60\"", "MaX-aGe=60", "max-age", "no-store=1", "max-age =60"] {
        let read = read(invalid);
        assert!(!read.targeted && read.no_store, "{invalid}");
    }
    assert_eq!(read("max-age=-5").max_age, Some(0));
}
