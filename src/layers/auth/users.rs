//! The file of users: on each line a name and the hash of a password, as `htpasswd -B` writes it (bcrypt), or as a PHC
//! string (argon2). Only hashes that are slow to try are taken, and none that is slow enough to be used against us. Knows
//! no requests and no clock.

use std::collections::HashMap;

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};
use bcrypt::HashParts;

use super::watched::{BadLine, lines};

/// Longest name, in bytes.
const LONGEST: usize = 256;
/// The most that one hash may cost: doublings of bcrypt's work; memory in KiB, passes and lanes of argon2's.
const COST: u32 = 16;
const MEMORY: u32 = 256 << 10;
const PASSES: u32 = 32;
const LANES: u32 = 16;

/// Those who may come in with a password.
#[derive(Debug, Default)]
pub struct Users {
    hashes: HashMap<Box<str>, Hash, foldhash::fast::RandomState>,
    /// What the password of somebody who is not there is tried on: as costly as most of the others.
    decoy: Option<Hash>,
}

/// The hash of a password.
#[derive(Clone)]
pub struct Hash(Form);

#[derive(Clone)]
enum Form {
    Bcrypt(Box<str>),
    Argon2(Box<str>),
}

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// The lines that cannot be used; a file with one is not used at all.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<BadLine>> {
        let mut users = Self::default();
        let mut bad = Vec::new();
        let mut costs: HashMap<String, (usize, Hash)> = HashMap::new();
        for (number, line) in lines(bytes) {
            let user = line.and_then(|line| user(line).map_err(|what| BadLine { number, what: what.to_owned() }));
            match user {
                Err(line) => bad.push(line),
                Ok((name, hash)) => {
                    costs.entry(hash.cost()).or_insert((0, hash.clone())).0 += 1;
                    if users.hashes.insert(name.into(), hash).is_some() {
                        bad.push(BadLine { number, what: "its name is there twice".to_owned() });
                    }
                }
            }
        }
        users.decoy = costs.into_values().max_by_key(|(count, _)| *count).map(|(_, hash)| hash);
        if bad.is_empty() { Ok(users) } else { Err(bad) }
    }

    /// What a password must be tried on, and whether it counts when it fits: somebody who is not there costs as much as
    /// somebody who is. `None` where nobody is there at all.
    pub fn find(&self, name: &str) -> Option<(&Hash, bool)> {
        match self.hashes.get(name) {
            Some(hash) => Some((hash, true)),
            None => self.decoy.as_ref().map(|decoy| (decoy, false)),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

impl Hash {
    /// Whether this is the password. Slow on purpose: never on a worker.
    pub fn fits(&self, password: &[u8]) -> bool {
        match &self.0 {
            Form::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Form::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
        }
    }

    /// The part of it that says how long it takes.
    fn cost(&self) -> String {
        match &self.0 {
            Form::Bcrypt(hash) => hash.chars().skip(3).take(4).collect(),
            Form::Argon2(hash) => hash.splitn(5, '$').take(4).collect(),
        }
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

fn user(line: &str) -> Result<(&str, Hash), &'static str> {
    let (name, hash) = line.split_once(':').ok_or("it has no `:` between a name and a hash")?;
    if name.is_empty() || name.len() > LONGEST || name.chars().any(char::is_control) {
        return Err("its name is empty, too long, or has control characters");
    }
    let form = match hash {
        _ if hash.starts_with("$argon2") => Form::Argon2(argon2(hash)?),
        _ if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix)) => Form::Bcrypt(bcrypt(hash)?),
        _ => return Err("its hash is neither bcrypt nor argon2: write it with `htpasswd -B`"),
    };
    Ok((name, Hash(form)))
}

fn bcrypt(hash: &str) -> Result<Box<str>, &'static str> {
    let parts: HashParts = hash.parse().map_err(|_| "its bcrypt hash is malformed")?;
    match parts.get_cost() {
        4..=COST => Ok(hash.into()),
        _ => Err("the cost of its bcrypt hash is not between 4 and 16"),
    }
}

fn argon2(hash: &str) -> Result<Box<str>, &'static str> {
    const MALFORMED: &str = "its argon2 hash is malformed";
    let parsed = PasswordHash::new(hash).map_err(|_| MALFORMED)?;
    let known = ["argon2i", "argon2d", "argon2id"].contains(&parsed.algorithm.as_str());
    if !known || parsed.salt.is_none() || parsed.hash.is_none() {
        return Err(MALFORMED);
    }
    let params = Params::try_from(&parsed).map_err(|_| MALFORMED)?;
    match params.m_cost() <= MEMORY && params.t_cost() <= PASSES && params.p_cost() <= LANES {
        true => Ok(hash.into()),
        false => Err("its argon2 hash costs too much: at most 256 MiB, 32 passes and 16 lanes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `htpasswd -nbB -C 4 alice secret`, with each of the prefixes that are written.
    fn bcrypted(prefix: &str, password: &str) -> String {
        let hash = ::bcrypt::hash_with_salt(password, 4, [7; 16]).unwrap();
        format!("{prefix}{}", &hash.to_string()[4..])
    }

    fn argon2ed(password: &str, memory: u32) -> String {
        use argon2::password_hash::PasswordHasher;
        let params = Params::new(memory, 1, 1, None).unwrap();
        let argon = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        argon.hash_password_with_salt(password.as_bytes(), &[7; 16]).unwrap().to_string()
    }

    #[test]
    fn passwords_fit_their_hashes() {
        let text = format!(
            "# users\nalice:{}\nbob:{}\r\ncarol:{}\ndave:{}\n",
            bcrypted("$2y$", "secret"),
            bcrypted("$2a$", "pässword"),
            bcrypted("$2b$", ""),
            argon2ed("argon", 64)
        );
        let users = Users::parse(text.as_bytes()).unwrap();
        let fits = |name: &str, password: &str| {
            let (hash, counts) = users.find(name).unwrap();
            hash.fits(password.as_bytes()) && counts
        };
        for (name, password) in [("alice", "secret"), ("bob", "pässword"), ("carol", ""), ("dave", "argon")] {
            assert!(fits(name, password), "{name}");
            for wrong in ["Secret", "secret ", "x", "argon2"] {
                assert!(!fits(name, wrong), "{name} {wrong}");
            }
        }
        // Whoever is not there costs the same, and never passes: not with the password of the decoy either.
        for password in ["secret", "pässword", "", "argon"] {
            assert!(!fits("mallory", password) && !fits("Alice", password) && !fits("", password));
        }
        assert!(Users::default().find("alice").is_none());
        assert!(!format!("{users:?}").contains("$2"));
    }

    #[test]
    fn hashes_of_others_fit() {
        // From the tests of crypt_blowfish, and made by the reference implementation of argon2.
        for (hash, password) in [
            ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
            ("$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", "U*U*"),
            ("$argon2i$v=19$m=64,t=2,p=2$c29tZXNhbHQ$IInz54p5lyD4CvgGVTEo8psTLK/kDQWf", "password"),
            ("$argon2id$v=19$m=64,t=1,p=1$b3RoZXJzYWx0$vg+2cum8Y4C/BiEiYRrWy7gavBxKTkQzqAiID9gc7DM", "pässword"),
        ] {
            let users = Users::parse(format!("u:{hash}").as_bytes()).unwrap();
            let (found, _) = users.find("u").unwrap();
            assert!(found.fits(password.as_bytes()) && !found.fits(b"other"), "{hash}");
        }
    }

    #[test]
    fn what_is_quick_to_try_or_too_slow_is_refused() {
        let text = format!(
            "alice\n:{good}\nbob:$apr1$x$y\ncarol:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\ndave:plain\neve:{}\n\
             frank:$2y$31{}\ngrace:{}\nheidi:$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ\nivan:{good}\nivan:{good}",
            &bcrypted("$2y$", "x")[..59],
            &bcrypted("$2y$", "x")[6..],
            argon2ed("x", 64).replace("m=64,", "m=4194304,"),
            good = bcrypted("$2y$", "x"),
        );
        let bad = Users::parse(text.as_bytes()).unwrap_err();
        assert_eq!(bad.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 11]);
    }

    #[test]
    fn the_decoy_costs_what_most_cost() {
        let text = format!("a:{}\nb:{}\nc:{}\n", bcrypted("$2y$", "x"), argon2ed("x", 64), argon2ed("y", 64));
        let users = Users::parse(text.as_bytes()).unwrap();
        assert_eq!(users.find("nobody").unwrap().0.cost(), users.find("b").unwrap().0.cost());
    }
}
