//! Standard output and standard error. A reader that has seen enough, such as `head`, is no failure.

use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};

use tollgate::config::load::Environment;
use tollgate::config::problem::Style;

use crate::Exit;

/// Writes the text to standard output.
pub(crate) fn print(text: &str) -> Exit {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Fine,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Fine,
        Err(_) => Exit::Unavailable,
    }
}

/// Writes the text to standard error; there is nobody to tell if that fails.
pub(crate) fn complain(text: &str) {
    let _ = stderr().lock().write_all(text.as_bytes());
}

/// Whether standard error is in colour: on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
pub(crate) fn style(environment: &Environment) -> Style {
    let refused = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());
    match stderr().is_terminal() && !refused {
        true => Style::Colour,
        false => Style::Plain,
    }
}
