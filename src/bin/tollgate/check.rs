//! `tollgate check`

use clap::Args;
use tollgate::app;
use tollgate::config::problem::Severity;
use tollgate::runtime::series;

use crate::source::Source;
use crate::{Exit, io};

/// Load the configuration and report all its problems at once.
#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    source: Source,
    /// Treat warnings as problems.
    #[arg(long)]
    strict: bool,
}

impl Check {
    pub(crate) fn run(&self) -> Exit {
        let loaded = match self.source.load() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        if !loaded.warnings.is_empty() {
            let style = io::style(&self.source.input().environment);
            io::complain(&format!("{}\n", loaded.warnings.render(style)));
        }
        let warnings = loaded.warnings.count(Severity::Warning);
        let (routes, upstreams) = (loaded.config.routes.len(), loaded.config.upstreams.len());
        let summary = [count(routes, "route"), count(upstreams, "upstream"), count(warnings, "warning")].join(", ");
        let series = series::total(&loaded.config, app::worker_count(&loaded.config.server));
        let file = self.source.config.display();
        match io::print(&format!("{file}: {summary}; at most {series} series of metrics\n")) {
            Exit::Fine if self.strict && warnings > 0 => Exit::Problem,
            exit => exit,
        }
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
