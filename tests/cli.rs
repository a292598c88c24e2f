//! The command line from outside: what it prints where, and its exit codes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::process::{Command, Output};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/gateway.toml");

fn tollgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate")).args(arguments).env_clear().output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs `tollgate check` over this text.
fn check(text: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, text).unwrap();
    tollgate(&[&["check", "--config", file.to_str().unwrap()], more].concat())
}

#[test]
fn exit_codes_say_who_has_to_act() {
    let good = "[[routes]]\nprefix = '/'\nupstream = 'http://a:1'\n";
    assert_eq!(check(good, &["--strict"]).status.code(), Some(0));
    assert_eq!(check("[server]\nport = 1\n", &[]).status.code(), Some(1));
    assert_eq!(check("", &[]).status.code(), Some(0));
    assert_eq!(check("", &["--strict"]).status.code(), Some(1));
    assert_eq!(check(good, &["--no-such-flag"]).status.code(), Some(2));
    assert_eq!(check(good, &["--set", "server.workers"]).status.code(), Some(2));
    assert_eq!(tollgate(&[]).status.code(), Some(2));
    assert_eq!(tollgate(&["check", "--config", "/nowhere/gateway.toml"]).status.code(), Some(3));
}

#[test]
fn problems_go_to_standard_error_without_colour() {
    let output = check("[server]\nport = 1\n", &[]);
    assert_eq!(out(&output), "");
    assert!(err(&output).starts_with("error: unknown key `port`\n --> "), "{}", err(&output));
    assert!(err(&output).ends_with("gateway.toml: 1 problem\n"), "{}", err(&output));
    assert!(!err(&output).contains('\u{1b}'));
}

#[test]
fn check_sums_up_what_there_is() {
    let output = tollgate(&["check", "--config", SAMPLE]);
    let said = out(&output);
    let series = said.strip_prefix(&format!("{SAMPLE}: 4 routes, 4 upstreams, 0 warnings; at most "));
    let series = series.and_then(|rest| rest.strip_suffix(" series of metrics\n")).unwrap_or_else(|| panic!("{said}"));
    assert!(series.parse::<usize>().unwrap() > 1000, "{said}");
    assert_eq!(err(&output), "");
}

#[test]
fn flags_come_last_and_are_named() {
    let set = |value: &str| tollgate(&["config", "--config", SAMPLE, "--set", value]);
    assert!(out(&set("server.workers=7")).contains("\nworkers = 7\n"));
    assert!(out(&set("upstreams.orders.retry.attempts=0")).contains("\nattempts = 0\n"));
    let wrong = set("server.wrkers=7");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(err(&wrong).contains(" --> flag --set: server.wrkers\n"), "{}", err(&wrong));
}

#[test]
fn the_environment_names_the_file_and_sets_values() {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("config")
        .env_clear()
        .env("TOLLGATE_CONFIG", SAMPLE)
        .env("TOLLGATE__LOG__LEVEL", "debug")
        .output()
        .unwrap();
    assert!(out(&output).contains("level = \"debug\""), "{}", err(&output));
}

#[test]
fn routes_are_printed_in_matching_order() {
    let output = out(&tollgate(&["routes", "--config", SAMPLE]));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = output.lines().map(words).collect();
    assert_eq!(
        lines,
        [
            "PATH HOST METHODS CONDITIONS ROUTE UPSTREAM",
            "/favicon.ico * * * favicon.ico static",
            "/billing/* * * * billing billing",
            "/orders/* api.example.com GET,POST x-version: 2, ?beta=1 orders orders",
            "/orders/* *.example.com GET,POST x-version: 2, ?beta=1 orders orders",
            "/* * * * root app:12345",
        ]
    );
}

#[test]
fn schema_completions_and_man_pages_are_printed() {
    let schema: serde_json::Value = serde_json::from_str(&out(&tollgate(&["schema"]))).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert!(out(&tollgate(&["completions", "bash"])).contains("tollgate"));
    assert!(out(&tollgate(&["man"])).contains(".TH tollgate"));
    let folder = tempfile::tempdir().unwrap();
    assert!(tollgate(&["man", "--out", folder.path().to_str().unwrap()]).status.success());
    assert!(folder.path().join("tollgate-check.1").exists());
    assert_eq!(tollgate(&["man", "--out", "/nowhere/at/all"]).status.code(), Some(3));
}

#[test]
fn explain_says_what_becomes_of_a_request() {
    let explain = |arguments: &[&str]| tollgate(&[&["explain", "--config", SAMPLE], arguments].concat());
    let output = explain(&["GET", "http://api.example.com/favicon.ico"]);
    assert!(out(&output).contains("> favicon.ico  takes it") && output.status.success(), "{}", out(&output));
    let refused = explain(&["--json", "--from", "10.0.0.1", "get", "/a b", "-H", "host: a", "-H", "x-a: 1"]);
    let told: serde_json::Value = serde_json::from_str(&out(&refused)).unwrap();
    assert_eq!((&told["outcome"]["code"], &told["request"]["client"]), (&"bad_request".into(), &"10.0.0.1".into()));
    assert!(refused.status.success());
    for (wrong, code) in
        [(&["GET", "http://a b/"][..], 1), (&["GET", "/\r\nx: y"], 1), (&["GET"], 2), (&["G T", "/"], 2)]
    {
        assert_eq!(explain(wrong).status.code(), Some(code), "{wrong:?}");
    }
    assert_eq!(explain(&["GET", "/", "-H", "nothing"]).status.code(), Some(2));
}
