//! Tollgate, an API gateway: every request balanced over every address that a name has right now.
//!
//! The library is the whole product; the binaries read flags, start it and stop it. A gateway is a value: it starts
//! from a [`Config`](config::Config), serves, and stops. Nothing is global, so two of them in one process never meet.
//!
//! ```
//! use std::io::{Read, Write};
//! use tollgate::app::Gateway;
//! use tollgate::config::load;
//!
//! let text = r#"
//! [server]
//! listen = ["127.0.0.1:0"]
//! workers = 1
//! [admin]
//! listen = "off"
//! [log]
//! access = "off"
//! [[routes]]
//! prefix = "/orders"
//! upstream = "http://127.0.0.1:12345"
//! "#;
//! let loaded = load::from_text(text)?;
//! let gateway = Gateway::start(&loaded.config)?;
//!
//! let mut client = std::net::TcpStream::connect(gateway.addresses()[0])?;
//! client.write_all(b"GET /nowhere HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n")?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert!(answer.starts_with("HTTP/1.1 404 "));
//! assert!(answer.contains(r#""code":"no_route""#));
//!
//! gateway.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Floors
//!
//! A module knows only what stands below it; `tests/architecture.rs` reads the imports.
//!
//! | floor | modules |
//! |---|---|
//! | 7 | the binaries |
//! | 6 | [`app`]: the gateway as a value |
//! | 5 | [`serve`]: sockets in · [`admin`]: the operators' pages · [`reload`]: from one configuration to the next · [`lab`]: what surrounds a gateway in a trial |
//! | 4 | [`runtime`]: what runs, made from a configuration |
//! | 3 | [`config`]: from text to what cannot be wrong |
//! | 2 | [`layers`]: the policies in front · [`upstream`]: names, addresses, connections |
//! | 1 | [`telemetry`]: numbers and logs |
//! | 0 | [`base`]: words that everybody uses |
//!
//! # Life of a request
//!
//! 1. [`serve::listen`] accepts a connection and gives it to the worker with the fewest.
//! 2. [`serve::connection`] speaks HTTP on it, and ends it when it stands still.
//! 3. [`serve::examine`] brings host and path to one form, and refuses what could be read in two ways.
//! 4. [`serve::dispatch`] takes the snapshot that runs now and asks the axum router of that host.
//! 5. [`runtime::mount`] finds, at the path that the router found, the first route that takes the request.
//! 6. [`layers`] look at it in a fixed order; each may refuse it, and a refusal unwinds through those already passed.
//! 7. [`upstream::balance`] picks an address among those that [`upstream::resolve`] keeps current in the background.
//! 8. [`upstream::forward`] sends it on a kept connection of that address, or elsewhere when that fails.
//! 9. [`runtime::outgoing`] passes the response on; a refusal becomes one in [`runtime::problem`].
//! 10. When the last byte has left, the [exchange](base::exchange) ends: it is counted, logged, and its places are free.
//!
//! `ARCHITECTURE.md` has the rest: the life of a configuration and of a name, what is absent on purpose, and where to
//! put a change.

pub mod admin;
pub mod app;
pub mod base;
pub mod config;
pub mod lab;
pub mod layers;
pub mod reload;
pub mod runtime;
pub mod serve;
pub mod telemetry;
pub mod upstream;
