//! What the views make of a model.

use serde_json::json;
use tollgate::base::clock;

use super::super::model::tests::known;
use super::*;

#[test]
fn each_view_is_a_table_of_what_is_known() {
    let (model, now) = (known(), clock::now());
    let text = |view: View| view.sheet(&model, now).text();
    assert_eq!(
        text(View::Routes),
        "ROUTE  REQ/S   4XX  5XX    P50    P99\n\
         a         10   10%   5%  1.0ms   10ms\n\
         b          0     -    -      -      -\n\
         none     0.5  100%   0%  0.5ms  1.0ms\n"
    );
    assert_eq!(
        text(View::Addresses),
        "UPSTREAM  ADDRESS      STATE    REQ/S  SHARE  BUSY  CONNS  FAILED  WHY\n\
         u         10.0.0.1:80  healthy     10    25%     1      3       0\n\
         u         10.0.0.2:80  ejected     30    75%     1      3       0  3 failures\n"
    );
    assert_eq!(
        text(View::Limits),
        "LIMIT  STORE  MODE     KEYS  ALLOWED  REFUSED\neach   local  enforce     3        7        1\n"
    );
    assert!(text(View::More).contains("listener  127.0.0.1:80  2 connections\n"), "{}", text(View::More));
}

#[test]
fn numbers_are_sorted_from_the_greatest_and_texts_from_the_first() {
    let (model, now) = (known(), clock::now());
    let order = |column: usize, reversed: bool| {
        let mut sheet = View::Routes.sheet(&model, now);
        sheet.sort(column, reversed);
        sheet.rows.iter().map(|row| row.cells[0].text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(order(0, true), ["none", "b", "a"]);
    assert_eq!(order(1, false), ["a", "none", "b"]);
    assert_eq!(order(2, false), ["none", "a", "b"]);
    assert_eq!(order(99, false), ["a", "b", "none"]);
}

#[test]
fn nothing_from_the_network_acts_on_a_terminal() {
    let mut model = Model::default();
    let status = json!({"routes": ["a\u{1b}[31m\u{202e}\r\n"], "upstreams": [{"name": "\u{7}", "addresses": [{"why": "\u{9b}x"}]}]});
    model.hear("snapshot", json!({"status": status}), clock::now());
    for view in View::ALL {
        let text = view.sheet(&model, clock::now()).text();
        let acts = |char: char| char.is_control() && char != '\n' || char == '\u{202e}';
        assert!(!text.contains(acts), "{text:?}");
    }
    assert!(View::Routes.sheet(&model, clock::now()).text().contains("a\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}"));
}

#[test]
fn a_gateway_that_has_nothing_yet_shows_headings() {
    for view in View::ALL {
        assert!(!view.sheet(&Model::default(), clock::now()).text().is_empty());
    }
    assert_eq!(
        (rate(0.05), percent(0.0005), latency(2.0), span(7200.0), bytes(2048.0)),
        ("<0.1".into(), "<0.1%".into(), "2.0s".into(), "2 h".into(), "2 KiB".into())
    );
}
