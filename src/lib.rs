//! Tollgate, an API gateway: every request balanced over every address that a name has right now.

pub mod admin;
pub mod app;
pub mod base;
pub mod config;
pub mod lab;
pub mod layers;
pub mod runtime;
pub mod serve;
pub mod telemetry;
pub mod upstream;
