//! Whether what a service asks for is done: its answer is checked whole before any of it is.

use super::super::mutation_rules::{Change, MutationRules, Permit, is_name, is_value};
use super::service::{Allowed, ForClient, Refusal};

/// What a service may ask for.
#[derive(Debug)]
pub(super) struct Permits {
    /// `validate_mutations`: names and values have to be possible ones.
    pub(super) validates: bool,
    /// `decoder_header_mutation_rules`
    pub(super) rules: Option<MutationRules>,
}

/// A service asks for what it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forbidden;

impl Permits {
    /// Leaves of the changes what is granted.
    ///
    /// # Errors
    /// One of them may not even be asked for.
    pub(super) fn check(&self, allowed: &mut Allowed) -> Result<(), Forbidden> {
        if !self.validates && self.rules.is_none() {
            return Ok(());
        }
        let mut fine = true;
        let mut keep = |name: &str, change: Change<'_>| {
            let permit = self.permit(name, change);
            fine &= permit != Permit::Refused;
            permit == Permit::Granted
        };
        let Allowed { set, append, join, remove, query_set, for_client, .. } = allowed;
        set.retain(|(name, value)| keep(name, Change::Set(value)));
        for list in [append, join] {
            list.retain(|(name, value)| keep(name, Change::Append(value)));
        }
        remove.retain(|name| is_name(name) && keep(name, Change::Remove));
        if self.validates {
            fine &= for_client.iter().all(|(name, value, _): &ForClient| is_header(name, value));
            fine &= query_set.iter().all(|(key, value)| is_parameter(key) && is_parameter(value));
        }
        if fine { Ok(()) } else { Err(Forbidden) }
    }

    /// Whether the client may be told this.
    ///
    /// # Errors
    /// One of its headers cannot be.
    pub(super) fn check_refusal(&self, refusal: &Refusal) -> Result<(), Forbidden> {
        let fine = !self.validates || refusal.headers.iter().all(|(name, value)| is_header(name, value));
        if fine { Ok(()) } else { Err(Forbidden) }
    }

    fn permit(&self, name: &str, change: Change<'_>) -> Permit {
        let possible = match change {
            Change::Set(value) | Change::Append(value) => is_header(name, value),
            Change::Remove => true,
        };
        match &self.rules {
            _ if self.validates && !possible => Permit::Refused,
            Some(rules) => rules.permit(name, change),
            None => Permit::Granted,
        }
    }
}

fn is_header(name: &str, value: &[u8]) -> bool {
    is_name(name) && is_value(value)
}

/// Whether it may stand in a query as it is; as in Envoy, what is escaped may not.
fn is_parameter(text: &[u8]) -> bool {
    text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests;
