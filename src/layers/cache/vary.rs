//! What a response depends on beside its URL (RFC 9111 §4.1): the fields that its `Vary` names, with the values of the
//! request that it answered. Values are brought to one form first, where all ways to write them mean the same. Pure.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_LANGUAGE, COOKIE, HeaderMap, HeaderName, USER_AGENT, VARY,
};

/// The fields that a response depends on, and the values that it was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    names: Box<[HeaderName]>,
    /// One for each name, in order; none where the field was absent.
    values: Box<[Option<Box<[u8]>>]>,
    /// The one language that it is in, where it depends on that.
    language: Option<Box<[u8]>>,
}

impl Variant {
    /// What the response with these fields to a request with those depends on.
    pub fn of(response: &HeaderMap, request: &HeaderMap) -> Self {
        let lines = response.get_all(VARY).iter();
        let items = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
        let mut names: Vec<HeaderName> =
            items.filter_map(|item| HeaderName::from_bytes(item.trim_ascii()).ok()).collect();
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        let values = names.iter().map(|name| normal(request, name)).collect();
        let language = (names.as_slice() == [ACCEPT_LANGUAGE]).then(|| language(response)).flatten();
        Self { names: names.into(), values, language }
    }

    /// Whether it depends on nothing.
    pub fn is_plain(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether a request with these fields would get the same.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        let same = self.names.iter().zip(&self.values).all(|(name, value)| normal(request, name) == *value);
        same || self.language.as_ref().is_some_and(|own| favourite(request).is_some_and(|asked| asked == **own))
    }

    /// Where such a request belongs, among responses that depend on the same.
    pub fn place(&self, request: &HeaderMap) -> Vec<u8> {
        let mut place = Vec::new();
        for name in &self.names {
            put(&mut place, Some(name.as_str().as_bytes()));
            put(&mut place, normal(request, name).as_deref());
        }
        place
    }

    /// Where the request that it was made for belongs.
    pub fn own_place(&self) -> Vec<u8> {
        let mut place = Vec::new();
        for (name, value) in self.names.iter().zip(&self.values) {
            put(&mut place, Some(name.as_str().as_bytes()));
            put(&mut place, value.as_deref());
        }
        place
    }

    /// Only what it depends on.
    pub fn names_only(&self) -> Self {
        Self { names: self.names.clone(), values: self.names.iter().map(|_| None).collect(), language: None }
    }

    /// Tells its parts, in an order in which [`Self::read`] takes them.
    pub fn write(&self, part: &mut impl FnMut(Option<&[u8]>)) {
        part(self.language.as_deref());
        for (name, value) in self.names.iter().zip(&self.values) {
            part(Some(name.as_str().as_bytes()));
            part(value.as_deref());
        }
        part(None);
    }

    /// Takes its parts back; none where they are not such.
    pub fn read(part: &mut impl FnMut() -> Option<Option<Bytes>>) -> Option<Self> {
        let language = part()?.map(|own| own.to_vec().into());
        let (mut names, mut values) = (Vec::new(), Vec::new());
        while let Some(name) = part()? {
            names.push(HeaderName::from_bytes(&name).ok()?);
            values.push(part()?.map(|own| own.to_vec().into()));
        }
        Some(Self { names: names.into(), values: values.into(), language })
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        let values = self.values.iter().flatten().map(|value| value.len());
        self.names.iter().map(|name| name.as_str().len() + 64).sum::<usize>() + values.sum::<usize>()
    }
}

/// Appends a part that cannot be mistaken for two, or for none.
fn put(place: &mut Vec<u8>, part: Option<&[u8]>) {
    match part {
        None => place.push(0),
        Some(part) => {
            place.push(1);
            place.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            place.extend_from_slice(part);
        }
    }
}

/// A field of the request in one form; none where it is absent.
fn normal(request: &HeaderMap, name: &HeaderName) -> Option<Box<[u8]>> {
    let mut lines = request.get_all(name).iter();
    let mut text = lines.next()?.as_bytes().to_vec();
    for line in lines {
        text.push(b',');
        text.extend_from_slice(line.as_bytes());
    }
    let text = match *name {
        ACCEPT_LANGUAGE | ACCEPT_ENCODING => preferences(&text),
        // White space within these may mean something to somebody.
        COOKIE | AUTHORIZATION | USER_AGENT => text,
        _ => without_space(&text),
    };
    Some(text.into())
}

/// A list without the white space around its commas, what stands in quotes left alone (RFC 9110 §5.6.1).
fn without_space(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    for &byte in text {
        let space = matches!(byte, b' ' | b'\t');
        if !quoted && space && matches!(out.last(), None | Some(b',')) {
            continue;
        }
        if !quoted && byte == b',' {
            while matches!(out.last(), Some(b' ' | b'\t')) {
                out.pop();
            }
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        out.push(byte);
    }
    while !quoted && matches!(out.last(), Some(b' ' | b'\t')) {
        out.pop();
    }
    out
}

/// Weighted choices in lower case, the dearest first: their order says nothing (RFC 9110 §12.5.3, §12.5.4).
fn preferences(text: &[u8]) -> Vec<u8> {
    let mut all = weighted(text);
    all.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    all.dedup();
    let mut out = Vec::with_capacity(text.len());
    for (name, weight) in all {
        out.extend_from_slice(&name);
        out.extend_from_slice(&weight.to_le_bytes());
        out.push(b',');
    }
    out
}

/// The choices of a list with their weights in thousandths (RFC 9110 §12.4.2); what is no weight counts as one of its
/// own, so that nothing is taken for the same that a server may tell apart.
fn weighted(text: &[u8]) -> Vec<(Vec<u8>, u16)> {
    let items = text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty());
    items
        .map(|item| {
            let whole = || (item.to_ascii_lowercase(), 1000);
            let Some(at) = item.iter().position(|&byte| byte == b';') else { return whole() };
            let (name, parameter) = (item[..at].trim_ascii(), item[at + 1..].trim_ascii());
            match parameter.strip_prefix(b"q=").or(parameter.strip_prefix(b"Q=")).and_then(weight) {
                Some(weight) => (name.to_ascii_lowercase(), weight),
                None => whole(),
            }
        })
        .collect()
}

fn weight(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |at: usize| u16::from(fraction.get(at).map_or(0, |digit| digit - b'0'));
    let weight = u16::from(whole - b'0') * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2);
    (weight <= 1000).then_some(weight)
}

/// The one language that a response says to be in.
fn language(response: &HeaderMap) -> Option<Box<[u8]>> {
    let mut lines = response.get_all(CONTENT_LANGUAGE).iter();
    let only = lines.next()?.as_bytes().trim_ascii();
    let single = lines.next().is_none() && !only.is_empty() && !only.contains(&b',');
    single.then(|| only.to_ascii_lowercase().into())
}

/// The language that a request likes better than every other: whoever chooses for it by what it says must choose that
/// one where it is to be had, and a stored response shows that it is.
fn favourite(request: &HeaderMap) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for line in request.get_all(ACCEPT_LANGUAGE) {
        text.extend_from_slice(line.as_bytes());
        text.push(b',');
    }
    let mut all = weighted(&text);
    all.sort_unstable_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    let unrivalled = all.get(1).is_none_or(|second| all.first().is_some_and(|first| first.1 > second.1));
    let first = all.into_iter().next()?;
    (unrivalled && first.1 > 0 && first.0 != b"*").then_some(first.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    /// Whether a response with this `Vary` to the one request would do for the other.
    fn same(vary: &str, one: &[(&'static str, &str)], other: &[(&'static str, &str)]) -> bool {
        let variant = Variant::of(&headers(&[("vary", vary)]), &headers(one));
        let (one, other) = (headers(one), headers(other));
        assert!(variant.matches(&one));
        let placed = variant.place(&one) == variant.place(&other);
        assert_eq!(placed, variant.matches(&other));
        placed
    }

    #[test]
    fn every_named_field_must_be_the_same() {
        let one = [("foo", "1"), ("bar", "abc")];
        assert!(same("Foo, BAR", &one, &[("bar", "abc"), ("foo", "1"), ("other", "x")]));
        assert!(!same("Foo, Bar", &one, &[("foo", "1")]));
        assert!(!same("Foo, Bar", &one, &[("foo", "1"), ("bar", "abcd")]));
        assert!(!same("Foo", &[], &[("foo", "")]));
        assert!(same("Foo", &[("bar", "1")], &[("bar", "2")]));
        assert!(Variant::of(&headers(&[]), &headers(&one)).is_plain());
    }

    #[test]
    fn lists_are_one_however_they_are_written() {
        assert!(same("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")]));
        assert!(same("foo", &[("foo", "1,2")], &[("foo", " 1 ,\t2 ")]));
        assert!(!same("foo", &[("foo", "\"1, 2\"")], &[("foo", "\"1,2\"")]));
        assert!(!same("foo", &[("foo", "a b")], &[("foo", "ab")]));
        assert!(!same("cookie", &[("cookie", "a=1, b")], &[("cookie", "a=1,b")]));
    }

    #[test]
    fn preferences_are_one_in_any_order_and_case() {
        let language = |text| [("accept-language", text)];
        assert!(same("accept-language", &language("en, de"), &language("dE ,  En")));
        assert!(same("accept-language", &language("en;q=0.5, de"), &language("de;q=1.0,en; q=0.500")));
        assert!(!same("accept-language", &language("en;q=0.5, de"), &language("de;q=0.5, en")));
        assert!(!same("accept-language", &language("en;q=2"), &language("en")));
        assert!(same("accept-encoding", &[("accept-encoding", "gzip, br")], &[("accept-encoding", "br,GZIP")]));
    }

    #[test]
    fn the_language_liked_best_is_the_one_to_get() {
        let response = headers(&[("vary", "accept-language"), ("content-language", "de")]);
        let variant = Variant::of(&response, &headers(&[("accept-language", "en, de")]));
        let suits = |text: &str| variant.matches(&headers(&[("accept-language", text)]));
        assert!(suits("fr;q=0.5, de;q=1.0") && suits("DE"));
        assert!(!suits("fr, de") && !suits("fr") && !suits("*") && !suits("de-AT, de;q=0.9") && !suits("de;q=0"));
    }

    #[test]
    fn no_value_can_pass_for_another() {
        // One field whose value looks like the end of it and the beginning of another.
        let crafted = [("a", "1\u{1}"), ("b", "2")];
        assert!(!same("a, b", &[("a", "1"), ("b", "2")], &[("a", "1,b,2")]));
        assert!(!same("a, b", &crafted[..0], &[("a", ""), ("b", "")]));
        assert!(!same("a, b", &[("a", "x")], &[("b", "x")]));
    }
}
