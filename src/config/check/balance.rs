//! `balance` of an upstream: a table says exactly one thing, and a secret is one.

use super::Context;
use crate::config::file::{BalanceSettings, BalanceTable, StickySettings};
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::{BalanceWord, Fault, SecretText, Text};
use crate::upstream::policy::{Balance, StickyPolicy};

/// Checks how an upstream balances. What cannot be used counts as the default: its problem has been told.
pub(super) fn balance(
    settings: &BalanceSettings,
    path: &KeyPath,
    context: &Context,
    findings: &mut Findings,
) -> Balance {
    match settings {
        BalanceSettings::Word(Text(BalanceWord::RoundRobin)) => Balance::RoundRobin,
        BalanceSettings::Word(Text(BalanceWord::LeastRequest)) => Balance::LeastRequest,
        BalanceSettings::Word(Text(BalanceWord::PeakEwma)) => Balance::PeakEwma,
        BalanceSettings::Word(Text(BalanceWord::Random)) => Balance::Random,
        BalanceSettings::Table(table) => by_table(table, path, context, findings),
    }
}

/// The secret of a sticky upstream, as it is written.
pub(super) fn secret(settings: &BalanceSettings) -> Option<&Text<SecretText>> {
    match settings {
        BalanceSettings::Table(table) => table.sticky.as_ref()?.secret.as_ref(),
        BalanceSettings::Word(_) => None,
    }
}

fn by_table(table: &BalanceTable, path: &KeyPath, context: &Context, findings: &mut Findings) -> Balance {
    let (hash, sticky) = (path.key("hash"), path.key("sticky"));
    match (&table.hash, &table.sticky) {
        (Some(_), Some(_)) => {
            let fault = Fault::new("an upstream balances by `hash` or `sticky`, not both");
            findings.clash(&sticky, fault.hint("leave one of them out"), &hash, "the other one");
        }
        (Some(key), None) => return Balance::Hash(key.0.clone()),
        (None, Some(settings)) => return Balance::Sticky(by_cookie(settings, &sticky, context, findings)),
        (None, None) => {
            if !findings.is_broken(&hash) && !findings.is_broken(&sticky) {
                let fault = Fault::new("the table says nothing about balancing");
                findings.value(path, fault.hint("write `{ hash = \"ip\" }`, `{ sticky = {} }`, or a word"));
            }
        }
    }
    Balance::RoundRobin
}

fn by_cookie(settings: &StickySettings, path: &KeyPath, context: &Context, findings: &mut Findings) -> StickyPolicy {
    let place = path.key("secret");
    let secret = settings.secret.as_ref().and_then(|text| match context.secret(&text.0) {
        Ok(secret) => Some(secret),
        Err(fault) => {
            findings.value(&place, fault);
            None
        }
    });
    StickyPolicy { cookie: settings.cookie.0.0.clone(), max_age: settings.max_age.0, secret }
}
