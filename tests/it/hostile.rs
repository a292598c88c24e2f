//! Malformed and ambiguous requests, as raw bytes: none may reach a backend in another meaning than a strict reader
//! gives it, none may bring a second request along, and every refusal is a problem that ends its connection.

mod codec;
mod denial;
mod fields;
mod framing;
mod h2;
mod lines;
mod pipelines;
mod targets;

use std::borrow::Cow;

use crate::support::Gate;
use crate::support::raw::{Recorder, responses, talk};

/// One thing to send, and what must come of it.
pub(crate) struct Case {
    name: &'static str,
    raw: Cow<'static, [u8]>,
    must: Must,
}

impl Case {
    /// The same case again, out of a table.
    fn copy(&self) -> Self {
        Self { name: self.name, raw: self.raw.clone(), must: self.must }
    }
}

/// What must come of a case.
#[derive(Clone, Copy)]
pub(crate) enum Must {
    /// A problem with one of these statuses, as the only answer; the connection ends; the backend gets no request.
    Refuse(&'static [u16]),
    /// A problem with 400; the backend gets no request. The connection may go on: it was read well enough.
    Decline,
    /// The connection ends, with or without such a problem: there is nobody to answer.
    End,
    /// The backend gets this one request and nothing else.
    Pass { method: &'static str, target: &'static str, body: &'static [u8] },
    /// The first request passes, what follows is refused.
    PassThenRefuse,
    /// Two requests, both of which pass.
    PassTwice,
}

pub(crate) const fn refuse(name: &'static str, raw: &'static [u8]) -> Case {
    case(name, raw, Must::Refuse(&[400]))
}

pub(crate) const fn decline(name: &'static str, raw: &'static [u8]) -> Case {
    case(name, raw, Must::Decline)
}

pub(crate) const fn end(name: &'static str, raw: &'static [u8]) -> Case {
    case(name, raw, Must::End)
}

pub(crate) const fn get(name: &'static str, raw: &'static [u8], target: &'static str) -> Case {
    let (method, body): (_, &[u8]) = ("GET", b"");
    case(name, raw, Must::Pass { method, target, body })
}

pub(crate) const fn post(name: &'static str, raw: &'static [u8], body: &'static [u8]) -> Case {
    let (method, target) = ("POST", "/");
    case(name, raw, Must::Pass { method, target, body })
}

pub(crate) const fn case(name: &'static str, raw: &'static [u8], must: Must) -> Case {
    Case { name, raw: Cow::Borrowed(raw), must }
}

/// Sends every case to one gateway, and says at once what went wrong with all of them.
pub(crate) fn judge(cases: impl IntoIterator<Item = Case>) {
    let backend = Recorder::start();
    let gate = gateway(&backend);
    let faults: Vec<String> = cases
        .into_iter()
        .filter_map(|case| {
            let fault = verdict(&case, &backend, &gate).err()?;
            Some(format!("{}: {fault}", case.name))
        })
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    gate.shutdown();
}

pub(crate) fn gateway(backend: &Recorder) -> Gate {
    Gate::start(&format!(
        "[server]\nworkers = 1\nshutdown_grace = \"1s\"\n\
         [[routes]]\nprefix = \"/\"\nupstream = \"http://{0}\"\n\
         [[routes]]\nprefix = \"/strip\"\nupstream = \"http://{0}\"\nstrip_prefix = true",
        backend.address
    ))
}

fn verdict(case: &Case, backend: &Recorder, gate: &Gate) -> Result<(), String> {
    let answers = match case.must {
        Must::End => 0,
        Must::Refuse(_) | Must::Decline | Must::Pass { .. } => 1,
        Must::PassThenRefuse | Must::PassTwice => 2,
    };
    let bytes = talk(gate.address(), &case.raw, answers);
    let head_only = case.raw.starts_with(b"HEAD");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let got = responses(&bytes, head_only).ok_or_else(|| format!("broken answer {text:?}"))?;
    let carried = backend.take();
    let whole: Vec<_> = carried.iter().filter_map(|carried| carried.request.as_ref()).collect();
    let heard = format!("{carried:?}");
    let require = |holds: bool, what: &str| match holds {
        true => Ok(()),
        false => Err(format!("{what}; the client got {text:?}, the backend {heard}")),
    };
    require(carried.iter().all(|carried| carried.rest.is_empty()), "bytes behind the request")?;
    let statuses: Vec<u16> = got.iter().map(|got| got.status).collect();
    let refused = |got: Option<&crate::support::raw::Got>, allowed: &[u16]| {
        got.is_some_and(|got| {
            let problem = head_only && got.body.is_empty() || got.problem_code().is_some();
            allowed.contains(&got.status) && problem && got.closes()
        })
    };
    match case.must {
        Must::Refuse(allowed) => {
            require(whole.is_empty(), "the backend got a request")?;
            require(statuses.len() == 1 && refused(got.first(), allowed), "not refused properly")
        }
        Must::Decline => {
            require(carried.is_empty(), "the backend got something")?;
            let declined = statuses == [400] && got[0].problem_code().is_some();
            require(declined, "not declined properly")
        }
        Must::End => {
            require(whole.is_empty(), "the backend got a request")?;
            let properly = got.is_empty() || refused(got.first(), &[400, 408, 431]) && got.len() == 1;
            require(properly, "not ended properly")
        }
        Must::Pass { method, target, body } => {
            require(statuses == [200] && carried.len() == 1 && whole.len() == 1, "not passed once")?;
            let same = whole[0].method == method && whole[0].target == target && whole[0].body == body;
            require(same, "passed in another meaning")
        }
        Must::PassThenRefuse => {
            require(carried.len() == 1 && whole.len() == 1, "not passed once")?;
            require(
                statuses.len() == 2 && statuses[0] == 200 && refused(got.last(), &[400, 431]),
                "the second not refused",
            )
        }
        Must::PassTwice => {
            require(statuses == [200, 200] && whole.len() == 2 && carried.len() == 2, "not passed twice")
        }
    }
}
