//! Dictionaries of structured fields (RFC 9651 §4.2.2), as far as targeted cache control needs them: whether one is
//! valid, and the members that are booleans or integers. Pure.

/// A member's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `?1`, `?0`, or a name without a value.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Something else that is valid.
    Other,
}

/// The members of a dictionary, each name once, the last value counting. None when the text is not one.
pub fn dictionary(text: &[u8]) -> Option<Vec<(String, Item)>> {
    let mut parser = Parser { rest: text.trim_ascii() };
    let mut members: Vec<(String, Item)> = Vec::new();
    while !parser.rest.is_empty() {
        let name = parser.key()?;
        let item = if parser.take(b'=') { parser.member()? } else { Item::Boolean(true) };
        parser.parameters()?;
        members.retain(|(earlier, _)| *earlier != name);
        members.push((name, item));
        parser.space();
        if parser.rest.is_empty() {
            break;
        }
        if !parser.take(b',') {
            return None;
        }
        parser.space();
        if parser.rest.is_empty() {
            return None; // a comma with nothing behind it
        }
    }
    Some(members)
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl Parser<'_> {
    fn take(&mut self, byte: u8) -> bool {
        let taken = self.rest.first() == Some(&byte);
        if taken {
            self.rest = &self.rest[1..];
        }
        taken
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn while_is(&mut self, is: impl Fn(u8) -> bool) -> Vec<u8> {
        let count = self.rest.iter().take_while(|&&byte| is(byte)).count();
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken.to_vec()
    }

    fn key(&mut self) -> Option<String> {
        if !self.rest.first().is_some_and(|&byte| byte.is_ascii_lowercase() || byte == b'*') {
            return None;
        }
        let is = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte);
        String::from_utf8(self.while_is(is)).ok()
    }

    fn member(&mut self) -> Option<Item> {
        if !self.take(b'(') {
            return self.bare();
        }
        loop {
            self.rest = self.rest.trim_ascii_start();
            if self.take(b')') {
                return Some(Item::Other);
            }
            self.bare()?;
            self.parameters()?;
            if !matches!(self.rest.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.rest = self.rest.trim_ascii_start();
            self.key()?;
            if self.take(b'=') {
                self.bare()?;
            }
        }
        Some(())
    }

    fn bare(&mut self) -> Option<Item> {
        match self.rest.first()? {
            b'?' => {
                let flag = match self.rest.get(1)? {
                    b'1' => true,
                    b'0' => false,
                    _ => return None,
                };
                self.rest = &self.rest[2..];
                Some(Item::Boolean(flag))
            }
            b'"' => self.string(),
            b':' => {
                self.take(b':');
                self.while_is(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
                self.take(b':').then_some(Item::Other)
            }
            b'@' => {
                self.take(b'@');
                matches!(self.number()?, Item::Integer(_)).then_some(Item::Other)
            }
            b'-' | b'0'..=b'9' => self.number(),
            byte if byte.is_ascii_alphabetic() || *byte == b'*' => {
                self.while_is(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
                Some(Item::Other)
            }
            _ => None,
        }
    }

    fn string(&mut self) -> Option<Item> {
        self.take(b'"');
        loop {
            let byte = *self.rest.first()?;
            self.rest = &self.rest[1..];
            match byte {
                b'"' => return Some(Item::Other),
                b'\\' if !self.take(b'"') && !self.take(b'\\') => return None,
                b' '..=b'~' => {}
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<Item> {
        let negative = self.take(b'-');
        let digits = self.while_is(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits.len() > 15 {
            return None;
        }
        if self.take(b'.') {
            let fraction = self.while_is(|byte| byte.is_ascii_digit());
            return (digits.len() <= 12 && matches!(fraction.len(), 1..=3)).then_some(Item::Other);
        }
        let number = digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Some(Item::Integer(if negative { -number } else { number }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read() {
        let text = br#"a, b=?0, c=-5;x;y="z", d=1.5, e="s\"t", f=tok/en, g=(1 "a";q=1 b), h=:aGk=:, i=@5, a=7"#;
        let members = dictionary(text).unwrap();
        let get = |name: &str| &members.iter().find(|(other, _)| other == name).unwrap().1;
        assert_eq!(members.len(), 9);
        assert_eq!((get("a"), get("b"), get("c")), (&Item::Integer(7), &Item::Boolean(false), &Item::Integer(-5)));
        assert!(["d", "e", "f", "g", "h", "i"].iter().all(|name| *get(name) == Item::Other));
        assert_eq!(dictionary(b"  ").unwrap(), []);
    }

    #[test]
    fn what_is_not_one_is_none() {
        for text in [
            "A=1",
            "a=",
            "a,",
            "a b",
            "a=?2",
            "a=\"x",
            "a=&",
            "a=(1",
            "a==1",
            "a =1",
            "a= 1",
            "a=1234567890123456",
            "&&&",
        ] {
            assert_eq!(dictionary(text.as_bytes()), None, "{text}");
        }
    }
}
