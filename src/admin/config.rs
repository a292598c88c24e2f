//! `GET /api/v1/config`: the configuration that runs, every default filled in, secrets masked.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use super::Desk;
use crate::config::effective;
use crate::config::file::ConfigFile;

/// TOML, as it is written, is a type that has to be asked for (RFC 9110 §12.5.1).
const TOML: &str = "application/toml";

/// JSON, or the text that `tollgate config` prints for those who accept `application/toml`.
pub async fn config(State(desk): State<Arc<Desk>>, fields: HeaderMap) -> Response {
    let config = desk.live.now().config().clone();
    let accepted = fields.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepted.flat_map(|list| list.split(',')).any(|kind| kind.trim() == TOML) {
        return ([(CONTENT_TYPE, TOML)], effective::to_toml(&config)).into_response();
    }
    Json(ConfigFile::from(&*config)).into_response()
}
