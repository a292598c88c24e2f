//! Scripts that run in Redis: sent by their hash, and whole to a server that does not know it, as after a restart.

use ::redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};

/// A script, with its hash.
#[derive(Debug)]
pub struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    /// A script in Lua 5.1.
    pub fn new(code: &'static str) -> Self {
        Self { code, hash: ::redis::Script::new(code).get_hash().to_owned() }
    }

    pub(super) fn short(&self, keys: &[String], arguments: &[String]) -> Cmd {
        call("EVALSHA", &self.hash, keys, arguments)
    }

    pub(super) fn whole(&self, keys: &[String], arguments: &[String]) -> Cmd {
        call("EVAL", self.code, keys, arguments)
    }
}

/// Whether the server does not know the script.
pub(super) fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

fn call(name: &str, script: &str, keys: &[String], arguments: &[String]) -> Cmd {
    let mut command = ::redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
    command
}
