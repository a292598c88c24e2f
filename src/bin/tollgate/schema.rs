//! `tollgate schema`

use clap::Args;
use tollgate::config::schema;

use crate::{Exit, io};

/// Print the JSON Schema of the configuration file, for editors.
#[derive(Args, Debug)]
pub(crate) struct Schema {}

impl Schema {
    pub(crate) fn run(&self) -> Exit {
        io::print(&schema::to_json())
    }
}
