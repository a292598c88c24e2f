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
