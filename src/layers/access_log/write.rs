//! How a line is written down, byte by byte: the formatting machinery would be the dearest part of it. Everything that a
//! client chose is escaped, so that a line is one line and says what it says; what may be a secret is left out: values in
//! the query, and parameters within the path.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Uri;

use super::Form;
use crate::base::redact;

/// The name of a field, as each form begins one with it: one piece to copy, of a length that the compiler knows.
#[derive(Clone, Copy)]
pub(super) struct Name {
    pub(super) json: &'static str,
    pub(super) json_text: &'static str,
    pub(super) text: &'static str,
}

/// A [`Name`].
macro_rules! name {
    ($name:literal) => {
        Name {
            json: concat!(",\"", $name, "\":"),
            json_text: concat!(",\"", $name, "\":\""),
            text: concat!(" ", $name, "="),
        }
    };
}
pub(super) use name;

/// A line that is being written.
pub(super) struct Line<'a> {
    bytes: &'a mut Vec<u8>,
    form: Form,
}

impl<'a> Line<'a> {
    pub(super) fn new(bytes: &'a mut Vec<u8>, form: Form) -> Self {
        Self { bytes, form }
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// The moment, which every line begins with: the second as text, and the milliseconds.
    pub(super) fn time<const N: usize>(&mut self, second: &[u8; N], millis: u32) {
        if self.form == Form::Json {
            self.bytes.extend_from_slice(b"{\"time\":\"");
        }
        self.bytes.extend_from_slice(second);
        let [hundreds, tens, ones] = three_digits(millis);
        self.bytes.extend_from_slice(&[b'.', hundreds, tens, ones, b'Z']);
        if self.form == Form::Json {
            self.bytes.push(b'"');
        }
    }

    pub(super) fn end(self) {
        match self.form {
            Form::Json => self.bytes.extend_from_slice(b"}\n"),
            Form::Text => self.bytes.push(b'\n'),
        }
    }

    /// A value without a name.
    pub(super) fn bare(&mut self, value: impl FnOnce(&mut Self)) {
        self.bytes.push(b' ');
        value(self);
    }

    /// A value with its name.
    #[inline]
    pub(super) fn field(&mut self, name: Name, value: impl FnOnce(&mut Self)) {
        let begin = if self.form == Form::Json { name.json } else { name.text };
        self.bytes.extend_from_slice(begin.as_bytes());
        value(self);
    }

    #[inline]
    pub(super) fn text(&mut self, name: Name, value: &str) {
        self.bytes(name, value.as_bytes());
    }

    #[inline]
    pub(super) fn bytes(&mut self, name: Name, value: &[u8]) {
        if self.form == Form::Text {
            return self.field(name, |line| line.quoted(value));
        }
        self.bytes.extend_from_slice(name.json_text.as_bytes());
        escape(self.bytes, value);
        self.bytes.push(b'"');
    }

    /// A text that has nothing to escape and no spaces. Inline, so that one whose length is known is copied without a call.
    #[inline(always)]
    pub(super) fn plain(&mut self, name: Name, value: &[u8]) {
        let quotes = self.form == Form::Json;
        self.bytes.extend_from_slice(if quotes { name.json_text } else { name.text }.as_bytes());
        self.bytes.extend_from_slice(value);
        if quotes {
            self.bytes.push(b'"');
        }
    }

    #[inline]
    pub(super) fn number(&mut self, name: Name, value: u64) {
        self.field(name, |line| line.decimal(value));
    }

    /// A text, in quotes where it needs them.
    pub(super) fn quoted(&mut self, value: &[u8]) {
        if self.form == Form::Text && !value.is_empty() && are_plain(value) && !value.contains(&b' ') {
            self.bytes.extend_from_slice(value);
        } else {
            self.bytes.push(b'"');
            escape(self.bytes, value);
            self.bytes.push(b'"');
        }
    }

    /// What has nothing to escape.
    pub(super) fn in_quotes(&mut self, value: impl FnOnce(&mut Self)) {
        let quotes = self.form == Form::Json;
        if quotes {
            self.bytes.push(b'"');
        }
        value(self);
        if quotes {
            self.bytes.push(b'"');
        }
    }

    /// Path and query, without values.
    pub(super) fn target(&mut self, target: &Uri) {
        let (path, query) = (target.path(), target.query());
        let quotes = self.form == Form::Json
            || ![path, query.unwrap_or_default()].into_iter().all(|part| are_plain(part.as_bytes()));
        if quotes {
            self.bytes.push(b'"');
        }
        redact::path(path, |piece| escape(self.bytes, piece.as_bytes()));
        if let Some(query) = query {
            self.bytes.push(b'?');
            redact::query(query, |piece| escape(self.bytes, piece.as_bytes()));
        }
        if quotes {
            self.bytes.push(b'"');
        }
    }

    pub(super) fn ip(&mut self, address: IpAddr) {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [first, second, third, fourth] = address.octets().map(u32::from);
                for octet in [first, second, third] {
                    self.small(octet, b'.');
                }
                self.small(fourth, b'.');
                self.bytes.pop();
            }
            IpAddr::V6(address) => {
                let _ = write!(self.bytes, "{address}");
            }
        }
    }

    pub(super) fn address(&mut self, address: SocketAddr) {
        match address {
            SocketAddr::V4(_) => {
                self.ip(address.ip());
                self.bytes.push(b':');
                self.decimal(u64::from(address.port()));
            }
            SocketAddr::V6(_) => {
                let _ = write!(self.bytes, "{address}");
            }
        }
    }

    /// Milliseconds, with three digits behind the point.
    pub(super) fn millis(&mut self, value: Duration) {
        match value.as_secs() {
            0 => self.small(value.subsec_millis(), b'.'),
            seconds => {
                self.decimal(seconds);
                self.thousandths(value.subsec_millis());
                self.bytes.push(b'.');
            }
        }
        self.thousandths(value.subsec_micros() % 1000);
        if self.form == Form::Text {
            self.bytes.extend_from_slice(b"ms");
        }
    }

    pub(super) fn decimal(&mut self, value: u64) {
        match u32::try_from(value) {
            Ok(value) if value < 10 => self.bytes.push(b'0' + value as u8),
            Ok(value) if value < 1000 => {
                self.small(value, b' ');
                self.bytes.pop();
            }
            _ => self.bytes.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        }
    }

    /// A number below a thousand, and a byte behind it: one piece, whose length is no matter of branches. Most have one digit.
    #[inline]
    fn small(&mut self, value: u32, behind: u8) {
        if value < 10 {
            return self.bytes.extend_from_slice(&[b'0' + value as u8, behind]);
        }
        let [hundreds, tens, ones] = three_digits(value);
        let length = 2 + usize::from(value > 9) + usize::from(value > 99);
        let whole = u32::from_be_bytes([hundreds, tens, ones, behind]) << (8 * (4 - length));
        self.bytes.extend_from_slice(&whole.to_be_bytes());
        self.bytes.truncate(self.bytes.len() - 4 + length);
    }

    fn thousandths(&mut self, value: u32) {
        self.bytes.extend_from_slice(&three_digits(value));
    }
}

fn three_digits(value: u32) -> [u8; 3] {
    [value / 100, value / 10 % 10, value % 10].map(|digit| b'0' + digit as u8)
}

/// Whether a byte needs no escape.
fn is_plain(byte: u8) -> bool {
    // No branch, so that several are looked at with one instruction.
    (byte.wrapping_sub(b' ') <= b'~' - b' ') & (byte != b'"') & (byte != b'\\')
}

/// Whether none of these needs an escape, looked at sixteen at a time.
fn are_plain(bytes: &[u8]) -> bool {
    let all = |bytes: &[u8]| bytes.iter().fold(true, |plain, &byte| plain & is_plain(byte));
    match bytes.last_chunk::<16>() {
        // The last sixteen may have been looked at in part.
        Some(last) => bytes.as_chunks::<16>().0.iter().all(|chunk| all(chunk)) && all(last),
        None => all(bytes),
    }
}

/// JSON escapes for quotes and for what a terminal would act on: control characters, other ends of lines, and marks that
/// turn the direction of writing around. `\ufffd` for what is not UTF-8.
fn escape(line: &mut Vec<u8>, bytes: &[u8]) {
    if are_plain(bytes) {
        line.extend_from_slice(bytes);
    } else {
        escape_each(line, bytes);
    }
}

#[cold]
fn escape_each(line: &mut Vec<u8>, bytes: &[u8]) {
    let acts = |char: char| {
        let turns =
            matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        char.is_control() || turns || matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    for char in String::from_utf8_lossy(bytes).chars() {
        match char {
            '"' => line.extend_from_slice(b"\\\""),
            '\\' => line.extend_from_slice(b"\\\\"),
            char if acts(char) => {
                let _ = write!(line, "\\u{:04x}", u32::from(char));
            }
            char => {
                let mut buffer = [0; 4];
                line.extend_from_slice(char.encode_utf8(&mut buffer).as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(form: Form, write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut bytes = Vec::new();
        write(&mut Line::new(&mut bytes, form));
        String::from_utf8(bytes).unwrap()
    }

    fn both(write: impl Fn(&mut Line<'_>)) -> [String; 2] {
        [Form::Json, Form::Text].map(|form| text(form, &write))
    }

    #[test]
    fn what_a_client_chose_cannot_break_the_line() {
        let hostile = "a\"b\\c\nd\0e\u{7f}\r\u{1b}[31m\u{85}\u{9b}\u{2028}\u{202e}\u{2066}é";
        let mut bytes = hostile.as_bytes().to_vec();
        bytes.push(0xff);
        for line in both(|line| line.quoted(&bytes)) {
            let parsed: String = serde_json::from_str(&line).unwrap();
            assert_eq!(parsed, format!("{hostile}\u{fffd}"));
            let shown = |char: &char| char.is_control() || "\u{2028}\u{202e}\u{2066}".contains(*char);
            assert_eq!(line.chars().find(shown), None, "{line}");
        }
    }

    #[test]
    fn one_byte_that_needs_an_escape_is_found_wherever_it_stands() {
        for length in 0..70 {
            assert!(are_plain(&vec![b'~'; length]));
            for at in 0..length {
                for odd in [0, 0x1f, b'"', b'\\', 0x7f, 0x80, 0xff] {
                    let mut bytes = vec![b' '; length];
                    bytes[at] = odd;
                    assert!(!are_plain(&bytes), "{odd} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn values_that_may_be_secrets_are_left_out() {
        for (target, written) in [
            ("/x?a=1&token=secret&flag&b=", "/x?a=***&token=***&***&b=***"),
            ("/a;jsessionid=secret/b;v=1;secret;c=d=e", "/a;jsessionid=***/b;v=***;***;c=***"),
            ("/", "/"),
        ] {
            assert_eq!(text(Form::Text, |line| line.target(&target.parse().unwrap())), written);
        }
        assert_eq!(text(Form::Json, |line| line.target(&"/x?é=1".parse().unwrap())), "\"/x?é=***\"");
    }

    #[test]
    fn numbers_and_addresses_are_written_as_usual() {
        let plain = |write: &dyn Fn(&mut Line<'_>)| text(Form::Json, write);
        assert_eq!(plain(&|line| line.decimal(0)), "0");
        assert_eq!(plain(&|line| line.decimal(u64::MAX)), u64::MAX.to_string());
        assert_eq!(plain(&|line| line.address("127.0.0.1:80".parse().unwrap())), "127.0.0.1:80");
        assert_eq!(plain(&|line| line.address("[::1]:80".parse().unwrap())), "[::1]:80");
        assert_eq!(plain(&|line| line.ip("::ffff:1.2.3.4".parse().unwrap())), "1.2.3.4");
        assert_eq!(plain(&|line| line.address("255.0.10.100:65535".parse().unwrap())), "255.0.10.100:65535");
        for (micros, written) in
            [(1_002_003, "1002.003"), (61_000_999, "61000.999"), (999_999, "999.999"), (10_050, "10.050"), (7, "0.007")]
        {
            assert_eq!(plain(&|line| line.millis(Duration::from_micros(micros))), written);
        }
        assert_eq!(text(Form::Text, |line| line.millis(Duration::from_micros(45))), "0.045ms");
    }

    #[test]
    fn text_has_quotes_where_it_needs_them() {
        for (value, written) in [("a/b=c", "a/b=c"), ("", "\"\""), ("a b", "\"a b\""), ("é", "\"é\"")] {
            assert_eq!(text(Form::Text, |line| line.text(name!("n"), value)), format!(" n={written}"));
        }
        assert_eq!(text(Form::Json, |line| line.text(name!("n"), "a")), ",\"n\":\"a\"");
    }
}
