//! How it looks on a terminal: a line on the gateway, one on its traffic, one view as a table, one of keys. Draws what it
//! is given, with the colours that it may use; every colour stands for a word that is there too.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table, TableState};

use super::model::Model;
use super::sheet::{Column, Tone, View, latency, percent, rate, span};

/// A silence that is worth a word.
const SILENCE: Duration = Duration::from_millis(3500);
/// The keys.
const KEYS: &str = "1-4 view   < > sort   r reverse   up down scroll   q quit";

/// What is on the screen.
#[derive(Debug)]
pub(super) struct Screen {
    /// Where the gateway is.
    pub(super) place: String,
    /// Whether there are colours.
    pub(super) colours: bool,
    /// Since when it is tried to listen.
    pub(super) began: Instant,
    /// Why there is nothing to hear, where that is known.
    pub(super) trouble: Option<String>,
    pub(super) view: View,
    /// The column that rows are sorted by in each view, and whether from its other end.
    pub(super) sorted: [(usize, bool); View::ALL.len()],
    pub(super) table: TableState,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Show(View),
    Next,
    Sort(isize),
    Reverse,
    Scroll(isize),
}

/// How the gateway is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Waiting,
    Live,
    Draining,
    Lost,
}

impl Screen {
    /// Nothing was heard yet.
    pub(super) fn new(place: String, view: View, colours: bool, now: Instant) -> Self {
        // What has the most traffic comes first; all else as it is told.
        let sorted = View::ALL.map(|view| (usize::from(view == View::Routes), false));
        Self { place, colours, began: now, trouble: None, view, sorted, table: TableState::new() }
    }

    /// Does what a key asks for.
    pub(super) fn obey(&mut self, wish: Wish) {
        let at = View::ALL.iter().position(|view| *view == self.view).unwrap_or_default();
        let columns = self.view.columns().len() as isize;
        let (column, reversed) = &mut self.sorted[at];
        match wish {
            Wish::Show(view) => self.view = view,
            Wish::Next => self.view = View::ALL[(at + 1) % View::ALL.len()],
            Wish::Sort(by) => *column = (*column as isize + by).rem_euclid(columns) as usize,
            Wish::Reverse => *reversed = !*reversed,
            Wish::Scroll(by) => {
                let offset = self.table.offset().saturating_add_signed(by);
                *self.table.offset_mut() = offset;
                return;
            }
        }
        *self.table.offset_mut() = 0;
    }

    /// Draws all of it.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, model: &Model, now: Instant) {
        let rows = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(1),
        ]);
        let [head, traffic, tabs, body, foot] = rows.areas(frame.area());
        frame.render_widget(Paragraph::new(self.head(model, now)), head);
        frame.render_widget(Paragraph::new(traffic_line(model)), traffic);
        frame.render_widget(Paragraph::new(self.tabs()), tabs);
        frame.render_widget(Paragraph::new(KEYS).style(Modifier::DIM), foot);
        let at = View::ALL.iter().position(|view| *view == self.view).unwrap_or_default();
        let (column, reversed) = self.sorted[at];
        let mut sheet = self.view.sheet(model, now);
        sheet.sort(column, reversed);
        // No further than to the last row.
        let room = usize::from(body.height.saturating_sub(1));
        let offset = self.table.offset().min(sheet.rows.len().saturating_sub(room));
        *self.table.offset_mut() = offset;
        let widths: Vec<usize> = sheet.widths();
        let widths = widths.into_iter().map(|width| Constraint::Length(u16::try_from(width + 1).unwrap_or(u16::MAX)));
        let columns = sheet.columns.clone();
        let heading = columns.iter().enumerate().map(|(at, one)| {
            let mark = if at == column { Modifier::REVERSED } else { Modifier::BOLD };
            aligned(one.name.to_owned(), *one).style(mark)
        });
        let lines = sheet.rows.into_iter().map(|row| {
            let style = self.style(row.tone);
            let cells = row.cells.into_iter().zip(&columns).map(|(cell, column)| aligned(cell.text, *column));
            Row::new(cells).style(style)
        });
        let table = Table::new(lines, widths).header(Row::new(heading)).column_spacing(1);
        frame.render_stateful_widget(table, body, &mut self.table);
    }

    fn style(&self, tone: Tone) -> Style {
        match (tone, self.colours) {
            (Tone::Plain, _) => Style::new(),
            (Tone::Odd, true) => Style::new().fg(Color::Yellow),
            (Tone::Bad, true) => Style::new().fg(Color::Red),
            (_, false) => Style::new().add_modifier(Modifier::BOLD),
        }
    }

    fn link(&self, model: &Model, now: Instant) -> Link {
        let silent = now.saturating_duration_since(model.heard().unwrap_or(self.began));
        match model.heard() {
            _ if silent >= SILENCE => Link::Lost,
            None if self.trouble.is_some() => Link::Lost,
            None => Link::Waiting,
            Some(_) if model.status()["draining"] == true => Link::Draining,
            Some(_) => Link::Live,
        }
    }

    fn head(&self, model: &Model, now: Instant) -> Line<'static> {
        let mut spans = vec![Span::raw(format!("tollgate {}  ", self.place))];
        let (word, tone) = match self.link(model, now) {
            Link::Waiting => ("connecting".to_owned(), Tone::Odd),
            Link::Live => (format!("live, up {}", span(model.uptime(now).as_secs_f64())), Tone::Plain),
            Link::Draining => ("shutting down".to_owned(), Tone::Odd),
            Link::Lost => {
                let seen = model.heard().map(|heard| now.saturating_duration_since(heard).as_secs_f64());
                let seen = seen.map(|seconds| format!(", last heard {} ago", span(seconds))).unwrap_or_default();
                let why = self.trouble.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
                (format!("NO ANSWER{seen}, trying again{why}"), Tone::Bad)
            }
        };
        spans.push(Span::styled(word, self.style(tone)));
        Line::from(spans)
    }

    fn tabs(&self) -> Line<'static> {
        let tab = |(number, view): (usize, &View)| {
            let text = format!(" {} {} ", number + 1, view.name());
            if *view == self.view { Span::styled(text, Modifier::REVERSED) } else { Span::raw(text) }
        };
        Line::from(View::ALL.iter().enumerate().map(tab).collect::<Vec<_>>())
    }
}

fn aligned(text: String, column: Column) -> ratatui::widgets::Cell<'static> {
    let alignment = if column.is_number { Alignment::Right } else { Alignment::Left };
    ratatui::widgets::Cell::new(Line::from(text).alignment(alignment))
}

fn traffic_line(model: &Model) -> String {
    let recent = model.recent(None);
    let time = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), latency);
    format!(
        "{} req/s   server errors {}   client errors {}   p50 {}   p99 {}",
        rate(recent.rate),
        percent(recent.server),
        percent(recent.client),
        time(recent.p50),
        time(recent.p99)
    )
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
