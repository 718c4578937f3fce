//! What a service may change of a request's head (`envoy.config.common.mutation_rules.v3.HeaderMutationRules`).

use nuncio_core::config::CompileContext;
use nuncio_core::matcher::{Regex, compile_regex};
use nuncio_proto::pb::envoy::config::common::mutation_rules::v3 as pb;

/// A change of one header, whose name is in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// It is set to this value.
    Set(&'a [u8]),
    /// This value is added to it.
    Append(&'a [u8]),
    /// It goes.
    Remove,
}

/// What becomes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// It is made.
    Granted,
    /// It is left out.
    Ignored,
    /// Who asked for it has failed.
    Refused,
}

/// Compiled `HeaderMutationRules`.
#[derive(Debug)]
pub(super) struct MutationRules {
    routing: bool,
    envoy: bool,
    system: bool,
    others: bool,
    allowed: Option<Regex>,
    disallowed: Option<Regex>,
    /// What is not allowed is `Refused`, not `Ignored`.
    is_error: bool,
}

impl MutationRules {
    /// `None`: refused, with the reason in `cx`.
    pub(super) fn compile(message: pb::HeaderMutationRules, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::HeaderMutationRules {
            allow_all_routing,
            allow_envoy,
            disallow_system,
            disallow_all,
            allow_expression,
            disallow_expression,
            disallow_is_error,
        } = message;
        let regex = |message: Option<_>, field| match message {
            None => Some(None),
            Some(message) => compile_regex(&message, &cx.field(field)).map(Some),
        };
        Some(Self {
            routing: allow_all_routing.unwrap_or(false),
            envoy: allow_envoy.unwrap_or(false),
            system: !disallow_system.unwrap_or(false),
            others: !disallow_all.unwrap_or(false),
            allowed: regex(allow_expression, "allow_expression")?,
            disallowed: regex(disallow_expression, "disallow_expression")?,
            is_error: disallow_is_error.unwrap_or(false),
        })
    }

    /// What becomes of that change of that header.
    pub(super) fn permit(&self, name: &str, change: Change<'_>) -> Permit {
        let possible = match change {
            Change::Set(value) => fits(name, value),
            Change::Append(value) => !name.starts_with(':') && fits(name, value),
            Change::Remove => !name.starts_with(':') && name != "host",
        };
        match possible && self.allows(name) {
            true => Permit::Granted,
            false if self.is_error => Permit::Refused,
            false => Permit::Ignored,
        }
    }

    /// Expressions come first, that which forbids before that which allows.
    fn allows(&self, name: &str) -> bool {
        let matches =
            |regex: &Option<Regex>| regex.as_ref().is_some_and(|r| r.is_full_match(name.as_bytes()));
        if matches(&self.disallowed) {
            return false;
        }
        matches(&self.allowed)
            || self.others
                && (self.system || !name.starts_with(':'))
                && (self.routing || !matches!(name, "host" | ":authority" | ":scheme" | ":method"))
                && (self.envoy || !name.starts_with("x-envoy"))
    }
}

/// Whether a header may have that value.
fn fits(name: &str, value: &[u8]) -> bool {
    match name {
        ":scheme" => matches!(value, b"http" | b"https"),
        ":authority" | "host" => {
            value.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:%[]@".contains(b))
        }
        ":status" => matches!(value, [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9']),
        _ => is_value(value),
    }
}

/// Whether it may be a header's name; that of a pseudo header counts as one.
pub(super) fn is_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    name.strip_prefix(':').unwrap_or(name).bytes().all(token)
}

/// Whether it may be a header's value: no control character stands in it but the tab.
pub(super) fn is_value(value: &[u8]) -> bool {
    value.iter().all(|b| *b == b'\t' || *b >= b' ' && *b != 0x7f)
}

#[cfg(test)]
mod tests;
