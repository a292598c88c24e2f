//! `tollgate top`: the numbers of the status page in a terminal. Listens to a running gateway, comes back to it by itself,
//! and leaves the terminal as it was, however it ends.

mod model;
mod screen;
mod sheet;

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tollgate::base::{clock, tasks};
use tollgate::config::load::Environment;
use tollgate::lab::events::{Event, Events, EventsError};
use tollgate::lab::probe::Target;

use self::model::Model;
use self::screen::{Screen, Wish};
use self::sheet::View;
use crate::operators::Operators;
use crate::{Exit, io, runtime};

/// Time between two attempts to listen.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is drawn where nothing is heard: what is shown of time runs on.
const TICK: Duration = Duration::from_millis(500);
/// How often a thread that waits for keys looks whether anybody still wants them.
const LOOK: Duration = Duration::from_millis(100);
/// Events and keys that wait to be shown.
const WAITING: usize = 16;

/// Watch a running gateway in the terminal: traffic by route, addresses, limits
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys: 1-4 or Tab choose what to see, < and > what it is sorted by, r turns the order round, q ends it.\n\
                        NO_COLOR=1 does without colours."
)]
pub(crate) struct Top {
    #[command(flatten)]
    operators: Operators,
    /// What to see first
    #[arg(long, value_enum, default_value_t)]
    view: View,
    /// Print it once as a table on standard output
    #[arg(long)]
    once: bool,
}

/// What has happened.
#[derive(Debug)]
enum Heard {
    Event(Event),
    /// Why there is nothing more to hear for now.
    Trouble(String),
    /// A key.
    Key(KeyEvent),
    /// The terminal has another size.
    Resize,
}

impl Top {
    pub(crate) fn run(&self) -> Exit {
        if self.once {
            return runtime::block_on(self.print());
        }
        if !stdout().is_terminal() {
            return fail("standard output is no terminal; --once prints a table");
        }
        runtime::block_on(self.watch())
    }

    fn target(&self) -> Target {
        self.operators.admin.at("/api/v1/events")
    }

    /// Prints what the gateway says first.
    async fn print(&self) -> Exit {
        let mut model = Model::default();
        while model.heard().is_none() {
            match first(&self.target()).await {
                Ok(Some(event)) => hear(&mut model, &event),
                Ok(None) => return fail("the gateway says nothing"),
                Err(error) => return fail(&error.to_string()),
            }
        }
        io::print(&self.view.sheet(&model, clock::now()).text())
    }

    /// Draws until somebody has seen enough.
    async fn watch(&self) -> Exit {
        let stop = runtime::stop();
        let mut terminal = match ratatui::try_init() {
            Ok(terminal) => Restored(terminal),
            Err(error) => return fail(&format!("the terminal cannot be had: {error}")),
        };
        let (sender, receiver) = mpsc::channel(WAITING);
        let _listening = tasks::spawn(listen(self.target(), sender.clone()));
        // On a thread that nobody has to wait for, should it not come back from a terminal that has gone.
        let keys = tasks::spawn(async move {
            let _ = tasks::behind(move || read_keys(&sender)).await;
        });
        let coloured = Environment::of_process().get("NO_COLOR").is_none_or(|value| value.is_empty());
        let place = self.operators.admin.url().to_string();
        let screen = Screen::new(place.trim_end_matches('/').to_owned(), self.view, coloured, clock::now());
        let drawn = tokio::select! {
            drawn = show(&mut terminal, screen, receiver) => drawn,
            () = stop => Ok(()),
        };
        // Before the terminal is as it was: what is typed from then on is for others.
        let _ = tokio::time::timeout(AGAIN, keys.finished()).await;
        drop(terminal);
        match drawn {
            Ok(()) => Exit::Fine,
            Err(error) => fail(&format!("cannot draw: {error}")),
        }
    }
}

/// A terminal that is as it was before, once this is gone; after a panic too, by the hook that comes with it.
struct Restored(DefaultTerminal);

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows what is heard, until a key ends it.
async fn show(terminal: &mut Restored, mut screen: Screen, mut heard: Receiver<Heard>) -> std::io::Result<()> {
    let mut model = Model::default();
    let mut ticks = tokio::time::interval(TICK);
    loop {
        let now = clock::now();
        terminal.0.draw(|frame| screen.draw(frame, &model, now))?;
        let what = tokio::select! {
            what = heard.recv() => what,
            _ = ticks.tick() => continue,
        };
        match what {
            Some(Heard::Event(event)) => {
                screen.trouble = None;
                hear(&mut model, &event);
            }
            Some(Heard::Trouble(why)) => screen.trouble = Some(why),
            Some(Heard::Key(key)) => match meaning(key) {
                Meaning::Wish(wish) => screen.obey(wish),
                Meaning::Quit => return Ok(()),
                Meaning::Nothing => {}
            },
            Some(Heard::Resize) => {}
            None => return Ok(()),
        }
    }
}

fn hear(model: &mut Model, event: &Event) {
    // What is no JSON says nothing.
    if let Ok(data) = serde_json::from_str::<Value>(&event.data) {
        model.hear(&event.name, data, clock::now());
    }
}

async fn first(target: &Target) -> Result<Option<Event>, EventsError> {
    Events::listen(target).await?.next().await
}

/// Hands on what the gateway says, and tries again where it says nothing.
async fn listen(target: Target, heard: Sender<Heard>) {
    loop {
        let began = clock::now();
        if let Err(error) = follow(&target, &heard).await
            && heard.send(Heard::Trouble(error.to_string())).await.is_err()
        {
            return;
        }
        tokio::time::sleep_until((began + AGAIN).max(clock::now()).into()).await;
    }
}

async fn follow(target: &Target, heard: &Sender<Heard>) -> Result<(), EventsError> {
    let mut events = Events::listen(target).await?;
    while let Some(event) = events.next().await? {
        if heard.send(Heard::Event(event)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Hands on what is typed, as long as anybody wants it.
fn read_keys(heard: &Sender<Heard>) {
    while !heard.is_closed() {
        let what = match event::poll(LOOK).and_then(|there| if there { event::read().map(Some) } else { Ok(None) }) {
            Ok(Some(event::Event::Key(key))) if key.kind != KeyEventKind::Release => Heard::Key(key),
            Ok(Some(event::Event::Resize(..))) => Heard::Resize,
            Ok(_) => continue,
            // Nobody can type any more; what is shown goes on until a signal ends it.
            Err(_) => return,
        };
        if heard.blocking_send(what).is_err() {
            return;
        }
    }
}

/// What a key means.
enum Meaning {
    Wish(Wish),
    Quit,
    Nothing,
}

fn meaning(key: KeyEvent) -> Meaning {
    let wish = match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Meaning::Quit,
        KeyCode::Char('q') | KeyCode::Esc => return Meaning::Quit,
        KeyCode::Char(digit @ '1'..='4') => Wish::Show(View::ALL[digit as usize - '1' as usize]),
        KeyCode::Tab => Wish::Next,
        KeyCode::Char('<') | KeyCode::Left => Wish::Sort(-1),
        KeyCode::Char('>') | KeyCode::Right => Wish::Sort(1),
        KeyCode::Char('r') => Wish::Reverse,
        KeyCode::Up | KeyCode::Char('k') => Wish::Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => Wish::Scroll(1),
        KeyCode::PageUp => Wish::Scroll(-10),
        KeyCode::PageDown => Wish::Scroll(10),
        KeyCode::Home => Wish::Scroll(isize::MIN),
        KeyCode::End => Wish::Scroll(isize::MAX),
        _ => return Meaning::Nothing,
    };
    Meaning::Wish(wish)
}

fn fail(problem: &str) -> Exit {
    io::complain(&format!("error: {problem}\n"));
    Exit::Problem
}
