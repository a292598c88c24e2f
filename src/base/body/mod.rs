//! The bodies that pass through: streamed, metered, never buffered whole.

mod download;
mod replay;
mod upload;

use thiserror::Error;

pub use download::{ResponseBody, Source, Stream};
pub use replay::{KEPT, Replay};
pub use upload::{BodyFailure, Meter, Pace, RequestBody};

/// What went wrong on the way, in words for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a body ended before its end.
#[derive(Debug, Error)]
pub enum BodyError {
    /// More bytes than the route allows.
    #[error("the body is larger than its limit")]
    TooLarge,
    /// Nothing came for too long, or too little in all.
    #[error("the body came too slowly")]
    TooSlow,
    /// The sender broke off.
    #[error("the body was cut short: {0}")]
    Broken(Cause),
}
