//! The flags that say which running gateway is meant, the same for each subcommand that asks one, and how it is asked.

use std::path::PathBuf;

use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use tollgate::lab::fetch;
use tollgate::lab::probe::Target;

/// Where its operators' listener is.
#[derive(Args, Debug)]
pub(crate) struct Operators {
    /// The operators' listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9901")]
    pub(crate) admin: Target,
}

/// What proves that one may ask.
#[derive(Args, Debug)]
pub(crate) struct Token {
    /// File with the token of [admin]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The token of [admin], where there is no file
    #[arg(
        long,
        value_name = "TOKEN",
        env = "TOLLGATE_ADMIN_TOKEN",
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    token: Option<String>,
}

impl Operators {
    /// Posts an order as JSON, and returns the answer to it.
    ///
    /// # Errors
    /// What is wrong, in words: with the token, with the order, or with the way there.
    pub(crate) async fn post(
        &self,
        path: &'static str,
        order: &impl Serialize,
        token: &Token,
        mut fields: HeaderMap,
    ) -> Result<String, String> {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.extend(token.field()?.map(|value| (AUTHORIZATION, value)));
        let body = serde_json::to_vec(order).unwrap_or_default();
        let (status, answer) =
            fetch::post(&self.admin.at(path), &fields, body).await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        if status.is_success() {
            return Ok(text);
        }
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("no reason given");
        Err(format!("{}: {detail}", status.as_u16()))
    }
}

impl Token {
    fn field(&self) -> Result<Option<HeaderValue>, String> {
        let token = match &self.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                Some(text.map_err(|error| format!("cannot read {}: {error}", file.display()))?)
            }
            None => self.token.clone(),
        };
        let Some(token) = token else { return Ok(None) };
        let value = HeaderValue::try_from(format!("Bearer {}", token.trim_end_matches(['\r', '\n'])));
        let mut value = value.map_err(|_| "the token has a character that no field may have".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}
