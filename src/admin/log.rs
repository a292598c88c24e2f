//! `/api/v1/log/level`: how much the program says of itself. What is changed here counts until it is changed again, by a
//! configuration with another `log.level` or by a restart.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Desk;
use super::guard::Allowed;
use super::problem::Problem;
use crate::telemetry::logging::{Dial, Levels};

/// What is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// `info`, or `info,tollgate::upstream=debug`.
    pub level: String,
}

/// `GET`: what is written now.
pub async fn get(State(desk): State<Arc<Desk>>) -> Result<Json<Level>, Problem> {
    Ok(Json(Level { level: dial(&desk)?.levels().to_string() }))
}

/// `PUT`: what is written from now on.
pub async fn set(_: Allowed, State(desk): State<Arc<Desk>>, body: Bytes) -> Result<Json<Level>, Problem> {
    let wrong = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_level", detail);
    let wanted: Level = serde_json::from_slice(&body)
        .map_err(|error| wrong(format!("this is not like {{\"level\":\"debug\"}}: {error}")))?;
    let levels = Levels::parse(&wanted.level).map_err(wrong)?;
    let dial = dial(&desk)?;
    tracing::warn!(from = %dial.levels(), to = %levels, "an operator changes what is logged");
    dial.set(levels);
    Ok(Json(Level { level: dial.levels().to_string() }))
}

fn dial(desk: &Desk) -> Result<&Dial, Problem> {
    desk.dial.as_ref().ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "no_log", "the program that this gateway is part of has its own log")
    })
}
