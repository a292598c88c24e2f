//! The `Cookie` field of a request (RFC 6265 §4.2), for who wants one pair of it and not the rest.

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};

/// The value of the first cookie of this name, as it was sent.
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers.get_all(COOKIE).iter().flat_map(pairs).find_map(|pair| value_of(pair, name))
}

/// Takes every cookie of this name out. The others stay as they are, in order.
pub fn remove(headers: &mut HeaderMap, name: &str) {
    let has = |line: &HeaderValue| pairs(line).any(|pair| value_of(pair, name).is_some());
    if !headers.get_all(COOKIE).iter().any(has) {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().filter_map(|line| without(line, name)).collect();
    headers.remove(COOKIE);
    for line in lines {
        headers.append(COOKIE, line);
    }
}

/// Whether the text can be the name of a cookie: a token (RFC 6265 §4.1.1).
pub fn is_name(text: &str) -> bool {
    let separator = |byte| b"()<>@,;:\\\"/[]?={}".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !separator(byte))
}

/// The field without the cookies of this name; `None` where nothing is left of it.
fn without(line: &HeaderValue, name: &str) -> Option<HeaderValue> {
    let kept: Vec<&[u8]> = pairs(line).filter(|pair| !pair.is_empty() && value_of(pair, name).is_none()).collect();
    if kept.is_empty() {
        return None;
    }
    // Pieces of a value are a value.
    HeaderValue::from_bytes(&kept.join(b"; ".as_slice())).ok()
}

fn pairs(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|&byte| byte == b';').map(<[u8]>::trim_ascii)
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let rest = pair.strip_prefix(name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")?;
    Some(rest.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_static(line))).collect()
    }

    fn left(lines: &[&'static str], name: &str) -> Vec<String> {
        let mut headers = headers(lines);
        remove(&mut headers, name);
        headers.get_all(COOKIE).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let sent = headers(&["xa=1; a=2;a=3", "b=\"4\"; empty="]);
        assert_eq!(find(&sent, "a"), Some(b"2".as_slice()));
        assert_eq!(find(&sent, "b"), Some(b"\"4\"".as_slice()));
        assert_eq!(find(&sent, "empty"), Some(b"".as_slice()));
        assert_eq!(find(&sent, "A"), None);
        assert_eq!(find(&sent, ""), None);
    }

    #[test]
    fn one_name_goes_and_the_others_stay() {
        assert_eq!(left(&["a=1; b=2; a=3; c=4"], "a"), ["b=2; c=4"]);
        assert_eq!(left(&["a=1"], "a"), Vec::<String>::new());
        assert_eq!(left(&["a=1", "b=2;  c=3"], "a"), ["b=2; c=3"]);
        assert_eq!(left(&["ab=1;  b=2"], "a"), ["ab=1;  b=2"], "nothing to take out, nothing to change");
    }

    #[test]
    fn names_are_tokens() {
        assert!(is_name("tollgate") && is_name("__Host-id"));
        assert!(!is_name("") && !is_name("a b") && !is_name("a=b") && !is_name("ä"));
    }
}
