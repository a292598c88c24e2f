//! The one canonical form of a path: what is matched, logged, cached and sent. Two gateways in a row, or a gateway
//! and its backend, must never read one request in two ways, so everything that could be read twice is either
//! resolved here or refused.

use std::borrow::Cow;

use thiserror::Error;

/// A path in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical<'a> {
    /// The path: absolute, no dot segments, no empty segments but the last, unreserved characters unescaped, the
    /// hex digits of the other escapes in upper case (RFC 3986 §6.2.2).
    pub path: Cow<'a, str>,
    /// Whether an escaped slash, an escaped backslash or an escaped percent sign before two hex digits is left: a
    /// backend that decodes once more reads another path.
    pub ambiguous: bool,
}

/// Why a path has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// Its dot segments lead out of the root.
    #[error("the dot segments of the path lead out of the root")]
    ClimbsOut,
    /// A control character, plain or escaped.
    #[error("the path has a control character")]
    Control,
    /// A backslash, which some backends read as a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// A percent sign without two hex digits behind it.
    #[error("the path has a `%` without two hex digits behind it")]
    BadEscape,
    /// A dot segment with a parameter, which some backends strip before they resolve it.
    #[error("the path has a dot segment with a parameter")]
    DotParameter,
}

/// Brings a raw path, without its query, into canonical form. Allocates only where something changes.
pub fn canonical(raw: &str) -> Result<Canonical<'_>, PathError> {
    let bytes = raw.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    if is_plain(bytes) {
        return Ok(Canonical { path: Cow::Borrowed(raw), ambiguous: false });
    }
    let path = resolve(&unescape(bytes)?)?;
    let ambiguous = is_ambiguous(path.as_bytes());
    Ok(Canonical { path: Cow::Owned(path), ambiguous })
}

/// Whether `path` is `prefix` or lies below it, on a segment boundary. Both canonical.
pub fn is_below(path: &str, prefix: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `path` without `prefix`, which it lies below; never empty.
pub fn strip<'a>(path: &'a str, prefix: &str) -> &'a str {
    match path.strip_prefix(prefix) {
        Some(rest) if rest.starts_with('/') => rest,
        Some("") => "/",
        _ => path,
    }
}

/// True where nothing needs a second look: no escape, no doubled slash, no segment that begins with a dot.
fn is_plain(bytes: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in bytes {
        match byte {
            b'%' | b'\\' | b';' | 0..=0x20 | 0x7f..=0xff => return false,
            _ if never_plain(byte) => return false,
            b'/' | b'.' if previous == b'/' => return false,
            _ => previous = byte,
        }
    }
    true
}

/// What no path has unescaped (RFC 3986 §3.3), though many send it.
const fn never_plain(byte: u8) -> bool {
    matches!(byte, b'"' | b'#' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// Decodes the escapes of unreserved characters, escapes what a path never has plain, and refuses what nobody should send.
fn unescape(bytes: &[u8]) -> Result<String, PathError> {
    let mut out = String::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'\\' => return Err(PathError::Backslash),
            0..=0x20 | 0x7f => return Err(PathError::Control),
            0x80.. => push_escaped(&mut out, byte),
            _ if never_plain(byte) => push_escaped(&mut out, byte),
            b'%' => {
                let value = hex_pair(bytes, at).ok_or(PathError::BadEscape)?;
                at += 2;
                match value {
                    0..=0x1f | 0x7f => return Err(PathError::Control),
                    b'-' | b'.' | b'_' | b'~' => out.push(char::from(value)),
                    _ if value.is_ascii_alphanumeric() => out.push(char::from(value)),
                    _ => push_escaped(&mut out, value),
                }
            }
            _ => out.push(char::from(byte)),
        }
    }
    Ok(out)
}

/// Looks at the finished path, not at the raw one: `%25%32%66` only becomes `%252f` by decoding.
fn is_ambiguous(path: &[u8]) -> bool {
    (0..path.len()).filter(|&at| path[at] == b'%').any(|at| match hex_pair(path, at + 1) {
        Some(b'/' | b'\\') => true,
        Some(b'%') => hex_pair(path, at + 3).is_some(),
        _ => false,
    })
}

/// Drops empty and dot segments (RFC 3986 §5.2.4), but refuses to leave the root.
fn resolve(text: &str) -> Result<String, PathError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = text.split('/').skip(1).peekable();
    let mut open = false;
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" | "." => open = last,
            ".." => {
                kept.pop().ok_or(PathError::ClimbsOut)?;
                open = last;
            }
            _ if matches!(segment.split_once(';'), Some(("." | "..", _))) => return Err(PathError::DotParameter),
            _ => kept.push(segment),
        }
    }
    let mut path = String::with_capacity(text.len());
    for segment in &kept {
        path.push('/');
        path.push_str(segment);
    }
    if open || kept.is_empty() {
        path.push('/');
    }
    Ok(path)
}

fn hex_pair(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(*bytes.get(at)?)? * 16 + digit(*bytes.get(at + 1)?)?;
    u8::try_from(value).ok()
}

fn push_escaped(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(raw: &str) -> String {
        canonical(raw).unwrap().path.into_owned()
    }

    #[test]
    fn a_plain_path_is_borrowed() {
        assert!(matches!(canonical("/orders/1?").unwrap().path, Cow::Borrowed(_)));
        assert!(matches!(canonical("/a.b/c..d/").unwrap().path, Cow::Borrowed(_)));
    }

    #[test]
    fn unreserved_escapes_are_decoded_and_the_rest_kept() {
        assert_eq!(path("/%41%7a%2D%2e%5f%7E"), "/Az-._~");
        assert_eq!(path("/a%20b%c3%a9"), "/a%20b%C3%A9");
        assert_eq!(path("/é"), "/%C3%A9");
        assert_eq!(path("/{a}|[b]"), path("/%7Ba%7D%7C%5Bb%5D"));
        assert_eq!(path("/a;v=1/b"), "/a;v=1/b");
    }

    #[test]
    fn dot_segments_and_doubled_slashes_are_resolved() {
        for (raw, expected) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("//a///b//", "/a/b/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/.hidden", "/.hidden"),
            ("/a/...", "/a/..."),
            ("//", "/"),
        ] {
            assert_eq!(path(raw), expected, "{raw}");
        }
    }

    #[test]
    fn what_can_be_read_twice_is_refused_or_marked() {
        for (raw, error) in [
            ("a", PathError::NotAbsolute),
            ("", PathError::NotAbsolute),
            ("/..", PathError::ClimbsOut),
            ("/a/../../b", PathError::ClimbsOut),
            ("/%2e%2e/b", PathError::ClimbsOut),
            ("/a%00", PathError::Control),
            ("/a%0d%0a", PathError::Control),
            ("/a\u{7f}", PathError::Control),
            ("/a\\b", PathError::Backslash),
            ("/a%", PathError::BadEscape),
            ("/a%4", PathError::BadEscape),
            ("/a%zz", PathError::BadEscape),
            ("/a%+1", PathError::BadEscape),
            ("/a/..;/b", PathError::DotParameter),
            ("/a/.;x=1", PathError::DotParameter),
        ] {
            assert_eq!(canonical(raw), Err(error), "{raw}");
        }
        for (raw, ambiguous) in [
            ("/a%2Fb", true),
            ("/a%5cb", true),
            ("/a%252Fb", true),
            ("/a%25zz", false),
            ("/%25%32%66", true),
            ("/a%20b", false),
        ] {
            assert_eq!(canonical(raw).unwrap().ambiguous, ambiguous, "{raw}");
        }
    }

    #[test]
    fn the_canonical_form_is_a_fixed_point() {
        for raw in ["/a/%2e%2E/b%2f%c3", "//x/./y/../é;p", "/%25%32%66"] {
            let once = path(raw);
            assert_eq!(path(&once), once, "{raw}");
        }
    }

    #[test]
    fn prefixes_end_on_segment_boundaries() {
        assert!(is_below("/orders", "/orders") && is_below("/orders/1", "/orders") && is_below("/x", "/"));
        assert!(!is_below("/orders-old", "/orders") && !is_below("/order", "/orders"));
        assert_eq!(strip("/orders/1", "/orders"), "/1");
        assert_eq!(strip("/orders", "/orders"), "/");
        assert_eq!(strip("/orders/", "/orders"), "/");
        assert_eq!(strip("/x", "/"), "/x");
    }
}
