//! What is on the screen, drawn into memory.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;
use tollgate::base::clock;

use super::super::model::tests::known;
use super::*;

/// The lines of a screen of this size.
fn lines(screen: &mut Screen, model: &Model, now: Instant, size: (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal.draw(|frame| screen.draw(frame, model, now)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |y: u16| (0..size.0).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..size.1).map(line).collect()
}

fn screen(view: View) -> Screen {
    Screen::new("http://127.0.0.1:9901".to_owned(), view, true, clock::now())
}

#[test]
fn it_shows_the_gateway_its_traffic_and_a_view() {
    let (model, mut screen) = (known(), screen(View::Routes));
    let now = model.heard().unwrap();
    assert_eq!(
        lines(&mut screen, &model, now, (70, 9)),
        [
            "tollgate http://127.0.0.1:9901  shutting down",
            "10 req/s   server errors 4.8%   client errors 14%   p50 1.0ms   p99 10ms",
            " 1 routes  2 addresses  3 limits  4 more",
            "ROUTE   REQ/S   4XX  5XX    P50    P99",
            "a          10   10%   5%  1.0ms   10ms",
            "none      0.5  100%   0%  0.5ms  1.0ms",
            "b           0     -    -      -      -",
            "",
            "1-4 view   < > sort   r reverse   up down scroll   q quit",
        ]
        .map(|line| line.chars().take(70).collect::<String>().trim_end().to_owned())
    );
    screen.obey(Wish::Show(View::Addresses));
    let shown = lines(&mut screen, &model, now, (100, 9)).join("\n");
    assert!(shown.contains("10.0.0.2:80  ejected") && shown.contains("3 failures"), "{shown}");
}

#[test]
fn it_says_when_the_gateway_goes_away_and_when_it_is_back() {
    let (mut model, mut screen) = (Model::default(), screen(View::Routes));
    let began = screen.began;
    let mut head = |model: &Model, trouble: Option<&str>, after: f64| {
        screen.trouble = trouble.map(str::to_owned);
        lines(&mut screen, model, began + Duration::from_secs_f64(after), (100, 6)).remove(0)
    };
    assert!(head(&model, None, 0.0).ends_with("connecting"));
    assert!(head(&model, Some("refused"), 0.1).ends_with("NO ANSWER, trying again (refused)"));
    assert!(head(&model, None, 3.6).ends_with("NO ANSWER, trying again"));
    let told = json!({"status": {"uptime_seconds": 7, "draining": false, "routes": []}});
    model.hear("snapshot", told.clone(), began + Duration::from_secs(4));
    assert!(head(&model, None, 4.0).ends_with("live, up 7 s"));
    assert!(head(&model, Some("reset"), 5.0).ends_with("live, up 8 s"), "a stream that is made anew is no news");
    assert!(head(&model, Some("reset"), 9.0).ends_with("NO ANSWER, last heard 5 s ago, trying again (reset)"));
    model.hear("snapshot", told, began + Duration::from_secs(10));
    assert!(head(&model, None, 10.0).ends_with("live, up 7 s"));
}

#[test]
fn keys_choose_the_view_the_order_and_the_place() {
    let (model, mut screen) = (known(), screen(View::Routes));
    let now = model.heard().unwrap();
    let mut rows = |wishes: &[Wish], height: u16| {
        wishes.iter().for_each(|wish| screen.obey(*wish));
        let lines = lines(&mut screen, &model, now, (70, height));
        let rows = lines[4..lines.len() - 1].iter().filter_map(|line| line.split(' ').next().map(str::to_owned));
        rows.filter(|row| !row.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(rows(&[], 9), ["a", "none", "b"]);
    assert_eq!(rows(&[Wish::Reverse], 9), ["b", "none", "a"]);
    assert_eq!(rows(&[Wish::Sort(-1)], 9), ["none", "b", "a"]);
    assert_eq!(rows(&[Wish::Sort(-1)], 9).len(), 3, "round to the last column");
    assert_eq!(rows(&[Wish::Sort(1), Wish::Reverse], 9), ["a", "b", "none"]);
    assert_eq!(rows(&[Wish::Scroll(1)], 6), ["b"]);
    assert_eq!(rows(&[Wish::Scroll(99)], 6), ["none"], "no further than to the last");
    assert_eq!(rows(&[Wish::Scroll(-99)], 6), ["a"]);
    assert_eq!(rows(&[Wish::Next], 9), ["u", "u"]);
    assert_eq!(rows(&[Wish::Next, Wish::Next, Wish::Next], 9).len(), 3);
}

#[test]
fn without_colours_there_are_none_and_every_size_will_do() {
    let (model, now) = (known(), clock::now());
    for colours in [true, false] {
        let mut screen = Screen { colours, ..screen(View::Addresses) };
        let mut terminal = Terminal::new(TestBackend::new(100, 9)).unwrap();
        terminal.draw(|frame| screen.draw(frame, &model, now)).unwrap();
        let coloured = terminal.backend().buffer().content.iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(coloured, colours);
        for size in [(1, 1), (2, 5), (300, 2), (20, 40)] {
            for view in View::ALL {
                screen.obey(Wish::Show(view));
                lines(&mut screen, &model, now, size);
            }
        }
    }
}
