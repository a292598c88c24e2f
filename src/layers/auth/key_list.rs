//! The file of API keys: on each line a name, the SHA-256 of a key in hexadecimal, and perhaps a plan. The keys
//! themselves are nowhere: whoever reads the file can use none of them. Knows no requests and no clock.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::watched::{BadLine, lines};

/// Longest name and longest plan, in bytes.
const LONGEST: usize = 128;

/// The SHA-256 of a key.
type Digest = [u8; SHA256_OUTPUT_LEN];

/// The keys that are taken, in the order of their digests.
#[derive(Debug, Default)]
pub struct KeyList(Vec<Entry>);

/// A key, as far as it is known.
#[derive(Debug)]
pub struct Entry {
    digest: Digest,
    /// Whose it is.
    pub name: Arc<str>,
    /// What plan it belongs to.
    pub plan: Option<Arc<str>>,
}

impl KeyList {
    /// Reads the file.
    ///
    /// # Errors
    /// The lines that cannot be used; a file with one is not used at all.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<BadLine>> {
        let (mut entries, mut bad): (Vec<(usize, Entry)>, Vec<BadLine>) = (Vec::new(), Vec::new());
        for (number, line) in lines(bytes) {
            let entry = line.and_then(|line| entry(line).map_err(|what| BadLine { number, what: what.to_owned() }));
            match entry {
                Ok(entry) => entries.push((number, entry)),
                Err(line) => bad.push(line),
            }
        }
        entries.sort_by_key(|(number, entry)| (entry.digest, *number));
        for pair in entries.windows(2) {
            if let [(first, one), (number, other)] = pair
                && one.digest == other.digest
            {
                bad.push(BadLine { number: *number, what: format!("it has the key of line {first}") });
            }
        }
        bad.sort_by_key(|line| line.number);
        match bad.is_empty() {
            true => Ok(Self(entries.into_iter().map(|(_, entry)| entry).collect())),
            false => Err(bad),
        }
    }

    /// Its place in the list, if the key is one of these. The beginning of its digest finds the place, which tells nobody
    /// anything of another key; whether it is that one takes the same time however much of it is right.
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        let digest = digest(&SHA256, key);
        let wanted = beginning(digest.as_ref());
        let from = self.0.partition_point(|entry| beginning(&entry.digest) < wanted);
        let alike = self.0[from..].iter().take_while(|entry| beginning(&entry.digest) == wanted);
        let found =
            alike.enumerate().find(|(_, entry)| verify_slices_are_equal(&entry.digest, digest.as_ref()).is_ok());
        found.map(|(at, _)| from + at)
    }

    /// The keys.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }
}

fn beginning(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn entry(line: &str) -> Result<Entry, &'static str> {
    let mut words = line.split_ascii_whitespace();
    let (name, hash, plan) = (words.next().unwrap_or_default(), words.next(), words.next());
    let hash = hash.ok_or("it has a name and no key: write `name sha256-hex [plan]`")?;
    if words.next().is_some() {
        return Err("it has more than a name, a key and a plan");
    }
    let digest =
        hex(hash).ok_or("its key is not a SHA-256 of 64 hexadecimal digits: try `printf %s KEY | sha256sum`")?;
    let word = |word: &str| word.len() <= LONGEST && !word.chars().any(char::is_control);
    if !word(name) || !plan.is_none_or(word) {
        return Err("its name or plan is too long, or has control characters");
    }
    Ok(Entry { digest, name: name.into(), plan: plan.map(Into::into) })
}

fn hex(text: &str) -> Option<Digest> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    (digits.len() == 2 * SHA256_OUTPUT_LEN).then(|| bytes.try_into().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, key: &str) -> String {
        let digest = digest(&SHA256, key.as_bytes());
        format!("{name} {}", digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    #[test]
    fn a_key_is_found_by_its_hash() {
        let mut text = format!("# keys\r\n\n  {}  gold \r\n", line("alice", "one"));
        for number in 0..500 {
            text += &(line(&format!("n{number}"), &format!("key {number}")) + "\n");
        }
        text += &line("alice", "another").to_ascii_uppercase();
        let list = KeyList::parse(text.as_bytes()).unwrap();
        let of = |key: &str| list.find(key.as_bytes()).map(|at| &list.entries()[at]);
        assert_eq!(of("one").map(|entry| (&*entry.name, entry.plan.as_deref())), Some(("alice", Some("gold"))));
        assert_eq!(of("another").map(|entry| (&*entry.name, entry.plan.as_deref())), Some(("ALICE", None)));
        for number in 0..500 {
            assert_eq!(&*of(&format!("key {number}")).unwrap().name, format!("n{number}"));
        }
        for key in ["", "One", "one ", "key 500"] {
            assert!(of(key).is_none(), "{key}");
        }
        assert!(KeyList::default().find(b"one").is_none());
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_not_by_what_is_in_it() {
        let good = line("alice", "one");
        let text = format!(
            "{good}\nbob\nbob secret-key\n# fine\n{} a b\n{}\n{}0 x\n",
            line("bob", "two"),
            line("twice", "one"),
            line("bob", "three")
        );
        let bad = KeyList::parse(&[text.as_bytes(), b"\xff\xfe"].concat()).unwrap_err();
        assert_eq!(bad.iter().map(|line| line.number).collect::<Vec<_>>(), [2, 3, 5, 6, 7, 8]);
        assert_eq!(bad[3].what, "it has the key of line 1");
        assert!(bad.iter().all(|line| !line.what.contains("secret-key")));
        assert_eq!(BadLine::summary(&bad).matches(", and 5 more").count(), 1);
        assert!(KeyList::parse(b"").is_ok_and(|list| list.entries().is_empty()));
    }
}
