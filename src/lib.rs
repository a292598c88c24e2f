//! Tollgate, an API gateway: every request balanced over every address that a name has right now.

pub mod base;
pub mod config;
pub mod lab;
pub mod upstream;
