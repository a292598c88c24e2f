//! Replays the corpus of the fuzz targets: what was found once is never lost again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends with what it did not expect")]

#[path = "../fuzz/checks.rs"]
mod checks;

use std::time::Duration;

use tollgate::base::clock;

fn replay(target: &str, check: fn(&[u8])) {
    seeds(target).iter().for_each(|seed| check(seed));
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!paths.is_empty(), "{folder} is empty");
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn every_path_of_the_corpus_is_canonical_or_refused() {
    replay("path", checks::path);
}

#[test]
fn every_head_of_the_corpus_is_sound_or_refused() {
    replay("head", checks::head);
}

#[test]
fn every_text_of_the_corpus_is_a_configuration_or_explained() {
    replay("config", checks::config);
}

#[test]
fn every_token_of_the_corpus_is_refused_and_taken_out() {
    replay("token", checks::token);
}

#[test]
fn every_forwarding_field_of_the_corpus_is_read_from_the_right() {
    replay("forwarding", checks::forwarding);
}

#[test]
fn every_file_of_credentials_of_the_corpus_is_taken_whole_or_not_at_all() {
    replay("credentials", checks::credentials);
}

/// A little fuzzing on the side, the same each time: no input of the corpus breaks anything with a few bytes changed.
#[test]
fn mutations_of_the_corpus_break_nothing() {
    let mut random = fastrand::Rng::with_seed(7);
    for target in TARGETS {
        for seed in seeds(target.name) {
            (0..target.each).for_each(|_| target.disturb(&seed, &mut random));
        }
    }
}

/// The same with other bytes each time, for `SOAK_MINUTES`.
#[test]
#[ignore = "a soak"]
#[allow(clippy::disallowed_methods, reason = "how long is for whoever waits to say, as with all soaks")]
fn mutations_for_as_long_as_wanted_break_nothing() {
    let minutes = std::env::var("SOAK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let share = Duration::from_secs_f64(minutes * 60.0 / TARGETS.len() as f64);
    for target in TARGETS {
        let (seeds, mut random) = (seeds(target.name), fastrand::Rng::new());
        let (begun, mut tried) = (clock::now(), 0_u64);
        while begun.elapsed() < share {
            for seed in &seeds {
                target.disturb(seed, &mut random);
                tried += 1;
            }
        }
        println!("{}: {tried} inputs in {:?}", target.name, begun.elapsed());
    }
}

/// What is fed with changed bytes.
struct Target {
    name: &'static str,
    check: fn(&[u8]),
    /// What separates things there.
    marks: &'static [u8],
    /// Mutations of each seed: fewer where one takes long.
    each: usize,
}

const TARGETS: &[Target] = &[
    Target { name: "path", check: checks::path, marks: b"/.%\\;?2eE5cCfF0", each: 2000 },
    Target { name: "head", check: checks::head, marks: b" :/\n\t,;@[]%?#.", each: 2000 },
    Target { name: "config", check: checks::config, marks: b"[]{}=\"'.,\n#-0", each: 20 },
    Target { name: "token", check: checks::token, marks: b".=-_{}\"\n: ", each: 500 },
    Target { name: "forwarding", check: checks::forwarding, marks: b",;=:\"[] ./", each: 2000 },
    Target { name: "credentials", check: checks::credentials, marks: b" :$.*/\n\t#=@", each: 2000 },
];

impl Target {
    /// Checks a seed with some bytes changed, taken out, put in or said twice.
    fn disturb(&self, seed: &[u8], random: &mut fastrand::Rng) {
        let mut input = Input(seed.to_vec());
        let bytes = &mut input.0;
        for _ in 0..random.usize(1..6) {
            let at = random.usize(0..=bytes.len());
            match random.u8(0..5) {
                0 if at < bytes.len() => drop(bytes.remove(at)),
                1 if at < bytes.len() => bytes[at] = random.u8(..),
                2 => bytes.insert(at, random.u8(..)),
                3 if bytes.len() < 4096 => {
                    let again = bytes[at..(at + random.usize(0..32)).min(bytes.len())].to_vec();
                    let to = random.usize(0..=bytes.len());
                    drop(bytes.splice(to..to, again));
                }
                _ => bytes.insert(at, *random.choice(self.marks).unwrap()),
            }
        }
        (self.check)(&input.0);
    }
}

/// An input that is shown when it breaks something.
struct Input(Vec<u8>);

impl Drop for Input {
    #[allow(clippy::print_stdout, reason = "whoever looks for the fault needs it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the input: b\"{}\"", self.0.escape_ascii());
        }
    }
}
