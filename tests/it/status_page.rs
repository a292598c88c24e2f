//! The status page in a real browser: what it shows while a gateway works, fails, ends and comes back, and what it does
//! with a keyboard, on a phone, and with names that would like to be markup.

mod hostile;

use std::net::SocketAddr;
use std::time::Duration;

use tollgate::reload::watch::Pace;

use crate::support::load::Load;
use crate::support::process::Process;
use crate::support::town::Town;
use crate::support::{Backend, Browser, Gate, get};

/// WebDriver's spelling of keys.
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const SPACE: &str = " ";

const ROUTE: &str = "[[routes]]\nname = \"app\"\nprefix = \"/\"\nupstream = \"app\"\n";

fn page(address: SocketAddr) -> String {
    format!("http://{address}/status")
}

/// An expression: the text of what this selector finds first.
fn text(selector: &str) -> String {
    format!("document.querySelector(`{selector}`)?.textContent ?? ``")
}

/// Shows a page that nothing is wrong with.
async fn assert_sound(browser: &Browser) {
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    let beyond = "return document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll(`body *`)]
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => `${one.tagName} ${one.className}`)";
    assert_eq!(browser.run(beyond).await, serde_json::json!([]), "it scrolls sideways");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_move_with_the_traffic_and_an_address_that_fails_turns() {
    let Some(browser) = Browser::start().await else { return };
    let town = Town::new().await;
    let (_one, two) = (town.start("app", 1).await, town.start("app", 2).await);
    town.publish("app.test", &[1, 2]);
    let port = town.port;
    let upstream = format!("[upstreams.app]\ndns = \"app.test.:{port}\"\n");
    let gate = town.gate_asking("", &format!("{ROUTE}{upstream}[upstreams.app.eject]\nfor = \"60s\"\n"));
    browser.open(&page(gate.admin())).await;
    browser.shows(&format!("{} === `Live`", text("#link-text"))).await;
    browser.shows(&format!("{} === `no requests`", text(".upstream summary > .quiet"))).await;
    let load = Load::start(gate.address(), "/", 2);
    let rate = "Number(document.querySelector(`.figure strong`).textContent.replaceAll(`,`, ``))";
    browser.shows(&format!("{rate} > 20")).await;
    browser.shows(&format!("{}.startsWith(`app`)", text(".routes tbody tr"))).await;
    browser.shows(&format!("/\\d ms/.test({})", text(".routes td[data-label=p99]"))).await;
    browser.shows("document.querySelector(`.routes .spark .line`).getAttribute(`d`).length > 40").await;
    browser.shows(&format!("/^(4\\d|5\\d) %/.test({})", text(".addresses td[data-label=Share]"))).await;
    let told = browser.run(&format!("return {}", text(".facts"))).await;
    let server = town.names.local_addr().to_string();
    for expected in ["app.test.", "2 addresses, fresh", "TTL 600 s", server.as_str(), "asks again in"] {
        assert!(told.as_str().unwrap().contains(expected), "{expected}: {told}");
    }
    two.stop().await;
    let second = ".addresses tbody tr:nth-child(2) td[data-label=State]";
    browser.shows(&format!("{}.startsWith(`ejected`)", text(second))).await;
    browser.shows(&format!("/connection/.test({})", text(second))).await;
    browser.shows(&format!("/1 ejected/.test({})", text(".upstream .marks"))).await;
    load.stop().await;
    for (width, scheme) in [(360, "light"), (768, "dark"), (1280, "dark")] {
        browser.resize(width).await;
        browser.prefer(scheme).await;
        assert_sound(&browser).await;
    }
    let fresh = Browser::start().await.unwrap();
    fresh.open(&page(gate.admin())).await;
    // What was before somebody looked is there at once.
    fresh.shows("document.querySelector(`.figure .line`)?.getAttribute(`d`)?.split(`L`).length > 3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyboard_is_enough_to_drain_an_address_and_to_take_it_back() {
    let Some(browser) = Browser::start().await else { return };
    let town = Town::new().await;
    let (one, two) = (town.socket(1), town.socket(2));
    let gate = Gate::start(&format!("{ROUTE}[upstreams.app]\naddresses = [\"{one}\", \"{two}\"]\n"));
    browser.open(&page(gate.admin())).await;
    browser.shows("document.querySelector(`.addresses button`)").await;
    let focused = "document.activeElement";
    tab_to(&browser, &format!("{focused}.matches(`.skip`)")).await;
    browser.press(ENTER).await;
    browser.shows(&format!("{focused}.id === `main`")).await;
    tab_to(&browser, &format!("{focused}.matches(`summary`)")).await;
    browser.press(SPACE).await;
    browser.shows("!document.querySelector(`.upstream`).open").await;
    browser.press(SPACE).await;
    tab_to(&browser, &format!("{focused}.ariaLabel === `Drain {one}`")).await;
    browser.shows(&format!("getComputedStyle({focused}).outlineStyle === `solid`")).await;
    browser.press(ENTER).await;
    browser.shows(&format!("{focused}.ariaLabel === `Take back {one}`")).await;
    browser.shows(&format!("/finishes what it has/.test({})", text("#told"))).await;
    browser.shows(&format!("/operator has drained/.test({})", text(".addresses .why"))).await;
    // The last one is not drained by a slip of the finger.
    tab_to(&browser, &format!("{focused}.ariaLabel === `Drain {two}`")).await;
    browser.press(ENTER).await;
    browser.shows(&format!("document.querySelector(`#ask`).open && {focused}.id === `ask-no`")).await;
    browser.press(ESCAPE).await;
    let again = format!("{focused}.ariaLabel === `Drain {two}` && {focused}.ariaDisabled === `false`");
    browser.shows(&again).await;
    browser.press(ENTER).await;
    browser.shows("document.querySelector(`#ask`).open").await;
    browser.press(&[TAB, ENTER].concat()).await;
    browser.shows(&format!("/no healthy address/.test({})", text(".upstream .marks"))).await;
    tab_to(&browser, &format!("{focused}.ariaLabel === `Take back {one}`")).await;
    browser.press(ENTER).await;
    browser.shows(&format!("{}.startsWith(`healthy`)", text(".addresses td[data-label=State]"))).await;
    assert_sound(&browser).await;
}

/// Presses the tab key until this is true; there are not so many places to go to.
async fn tab_to(browser: &Browser, expression: &str) {
    for _ in 0..40 {
        browser.press(TAB).await;
        if browser.run(&format!("return {expression}")).await == true {
            return;
        }
    }
    panic!("no way leads there: {expression}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_ask_for_the_token_until_it_is_the_right_one() {
    let Some(browser) = Browser::start().await else { return };
    let town = Town::new().await;
    let (one, two) = (town.socket(1), town.socket(2));
    let admin = "[admin]\ntoken = \"open sesame\"\n";
    let gate = Gate::start(&format!("{ROUTE}[upstreams.app]\naddresses = [\"{one}\", \"{two}\"]\n{admin}"));
    browser.open(&page(gate.admin())).await;
    browser.shows("document.querySelector(`.addresses button`)").await;
    browser.click(".addresses button").await;
    browser.shows("document.querySelector(`#ask`).open && document.activeElement.id === `ask-token`").await;
    browser.press(&["wrong", ENTER].concat()).await;
    browser.shows(&format!("/not the token/.test({})", text("#ask-problem:not([hidden])"))).await;
    // What the browser says of the answer 401 is all that there is to complain of.
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|one| one.contains("401")) && complaints.len() == 1, "{complaints:?}");
    browser.press(&["open sesame", ENTER].concat()).await;
    browser.shows(&format!("document.querySelector(`[aria-label='Take back {one}']`)")).await;
    // It is remembered, but only by this page.
    browser.click(".addresses button").await;
    browser.shows(&format!("document.querySelector(`[aria-label='Drain {one}']`)")).await;
    let kept = "return JSON.stringify([localStorage, sessionStorage, document.cookie])";
    assert_eq!(browser.run(kept).await, "[{},{},\"\"]");
    browser.click("#key").await;
    browser.click(".addresses button").await;
    browser.shows("document.querySelector(`#ask`).open && document.querySelector(`#ask-token`).value === ``").await;
    browser.press(ESCAPE).await;
    // Where nobody may change anything, the page says so.
    let open = "[admin]\nlisten = \"0.0.0.0:0\"\n";
    let gate = Gate::start(&format!("{ROUTE}[upstreams.app]\naddresses = [\"{one}\"]\n{open}"));
    browser.open(&page(SocketAddr::from(([127, 0, 0, 1], gate.admin().port())))).await;
    let button = "document.querySelector(`.addresses button`)";
    browser.shows(&format!("{button}?.disabled && {button}.title.includes(`token`)")).await;
    assert_sound(&browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_goes_away_and_comes_back_is_missed_and_found_again() {
    let Some(browser) = Browser::start().await else { return };
    let text_of = |clients: SocketAddr, admin: SocketAddr| {
        format!(
            "[server]\nworkers = 1\nlisten = [\"{clients}\"]\n[admin]\nlisten = \"{admin}\"\n[log]\naccess = \"off\"\n\
             {ROUTE}[upstreams.app]\naddresses = [\"127.0.0.1:9\"]\n"
        )
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (mut process, clients, admin) = Process::serve(&text_of(any, any)).await;
    browser.open(&page(admin)).await;
    browser.shows(&format!("{} === `Live`", text("#link-text"))).await;
    browser.run("window.same = true").await;
    process.signal("KILL");
    process.ends().await;
    browser.shows(&format!("/does not answer.*Last seen \\d+ s ago/.test({})", text("#banner:not([hidden])"))).await;
    browser.shows("/^No answer/.test(document.title)").await;
    let (_again, _, _) = Process::serve(&text_of(clients, admin)).await;
    browser.shows(&format!("{} === `Live`", text("#link-text"))).await;
    browser.shows("document.querySelector(`#banner`).hidden").await;
    browser.shows(&format!("/answers again/.test({})", text("#told"))).await;
    browser.shows("window.same === true").await;
    browser.shows(&format!("/up \\d s$/.test({})", text("#version"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_are_told_with_what_they_changed_and_what_was_wrong() {
    let Some(browser) = Browser::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let upstream = "[upstreams.app]\naddresses = [\"127.0.0.1:9\"]\n";
    let listen = "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n";
    std::fs::write(&file, format!("{listen}{ROUTE}{upstream}")).unwrap();
    let pace = Pace { poll: Duration::from_millis(100), ..Pace::default() };
    let gate = Gate::from_file(&file, pace);
    browser.open(&page(gate.admin())).await;
    browser.shows(&format!("/None since/.test({})", text("#reloads"))).await;
    let more = "[[routes]]\nname = \"shop\"\nprefix = \"/shop\"\nupstream = \"app\"\n";
    std::fs::write(&file, format!("{listen}{ROUTE}{more}{upstream}")).unwrap();
    browser.shows(&format!("/route shop/.test({})", text(".reloads .added"))).await;
    browser.shows(&format!("/^shop/.test({})", text(".routes tbody tr:nth-child(2)"))).await;
    std::fs::write(&file, format!("{listen}{ROUTE}{upstream}[[routes]]\nprefix = \"/<script>alert(1)</script>\"\n"))
        .unwrap();
    browser.shows(&format!("/^Failed/.test({})", text(".reloads li:first-child"))).await;
    let told = browser.run(&format!("return {}", text(".reloads li:first-child"))).await;
    assert!(told.as_str().unwrap().contains("gateway.toml:"), "{told}");
    assert_sound(&browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_the_cache_show_and_the_cache_is_emptied() {
    let Some(browser) = Browser::start().await else { return };
    let backend =
        Backend::answering("HTTP/1.1 200 OK\r\ncache-control: max-age=600\r\ncontent-length: 2\r\n\r\nok").await;
    let limit = "[rate_limits.few]\nkey = \"ip\"\nrate = \"1/h\"\nburst = 3\n";
    let gate = Gate::before(&backend, &format!("cache = true\nrate_limit = [\"few\"]\n{limit}"));
    for (target, status) in [("/a/1", 200), ("/a/2", 200), ("/b", 200), ("/b", 429)] {
        assert_eq!(get(gate.address(), target).await.status(), status, "{target}");
    }
    browser.open(&page(gate.admin())).await;
    browser.shows(&format!("/^few.*3.*1$/.test({})", text("#limits tbody tr"))).await;
    browser.shows(&format!("/in 3 entries/.test({})", text("#cache"))).await;
    browser.click(".purge input").await;
    browser.press(&["/a", ENTER].concat()).await;
    browser.shows(&format!("/Purged 2 entries/.test({})", text("#told"))).await;
    browser.shows(&format!("/in 1 entry/.test({})", text("#cache"))).await;
    browser.run("document.querySelector(`.purge select`).value = `tag`").await;
    browser.click(".purge input").await;
    browser.press(&["two words", ENTER].concat()).await;
    browser.shows(&format!("/^Not done: a tag has/.test({})", text("#told[data-bad]"))).await;
    let complaints = browser.complaints().await;
    assert!(complaints.len() == 1 && complaints[0].contains("400"), "{complaints:?}");
    browser.resize(360).await;
    assert_sound(&browser).await;
}
