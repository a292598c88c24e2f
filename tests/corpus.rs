//! Replays the corpus of the fuzz targets: what was found once is never lost again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends with what it did not expect")]

#[path = "../fuzz/checks.rs"]
mod checks;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut seeds = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        check(&std::fs::read(entry.unwrap().path()).unwrap());
        seeds += 1;
    }
    assert!(seeds > 0, "{folder} is empty");
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

/// A little fuzzing on the side: the files of credentials with bytes changed, taken out and put in.
#[test]
fn mutations_of_files_of_credentials_break_nothing() {
    const EACH: usize = 2000;
    let folder = format!("{}/fuzz/corpus/credentials", env!("CARGO_MANIFEST_DIR"));
    let mut random = fastrand::Rng::with_seed(7);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        for _ in 0..EACH {
            let mut bytes = seed.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..bytes.len().max(1));
                match random.u8(0..4) {
                    0 if at < bytes.len() => drop(bytes.remove(at)),
                    1 => bytes.insert(at.min(bytes.len()), random.u8(..)),
                    2 => bytes.insert(at.min(bytes.len()), *random.choice(b" :$.*/\n\t#=@").unwrap()),
                    _ if at < bytes.len() => bytes[at] = random.u8(..),
                    _ => {}
                }
            }
            checks::credentials(&bytes);
        }
    }
}
