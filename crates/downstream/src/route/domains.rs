//! Which virtual host a request's host belongs to: `VirtualHost.domains` by Envoy's precedence.

use super::trie::{Case, Order, Trie, TrieBuilder};

/// Why a domain cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DomainError {
    /// A second `*`.
    SecondWildcard,
    /// The domain stands in the table already, in whatever letter case.
    Duplicate,
}

/// The domains of one route table: exact before the longest `*suffix` before the longest `prefix*` before `*`.
///
/// Letters compare without case. A wildcard stands for at least one character. Ports belong to the host: who
/// wants them ignored strips them first ([`without_port`]). A look-up allocates nothing and costs the length
/// of the host, not the number of domains.
#[derive(Debug, Default)]
pub(super) struct Domains {
    /// Keys of exact domains and of `prefix*`; values index `ends`.
    forward: Trie,
    /// Reversed keys of `*suffix`; values are virtual hosts.
    backward: Trie,
    ends: Box<[End]>,
    any: Option<u32>,
    only_any: bool,
}

/// What ends at one node of the forward tree.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    exact: Option<u32>,
    prefix: Option<u32>,
}

impl Domains {
    /// The virtual host of `*`, where there is no other domain: then it serves requests that name no host, too, and
    /// nobody else does.
    #[inline]
    pub(super) fn only_any(&self) -> Option<u32> {
        self.any.filter(|_| self.only_any)
    }

    /// The virtual host for `host` (any letter case); `None` when no domain fits. Only `*` fits an empty host.
    #[inline]
    pub(super) fn find(&self, host: &[u8]) -> Option<u32> {
        // Folded once: names of hosts have at most 255 bytes, and what is longer is folded as it is read.
        let mut buffer = [0; 256];
        match buffer.get_mut(..host.len()) {
            Some(lower) => {
                lower.copy_from_slice(host);
                lower.make_ascii_lowercase();
                self.walk(lower, Case::Exact)
            }
            None => self.walk(host, Case::Folded),
        }
    }

    #[inline]
    fn walk(&self, host: &[u8], case: Case) -> Option<u32> {
        let (mut exact, mut prefix, mut suffix) = (None, None, None);
        self.forward.walk(host, Order::Forward, case, u32::MAX, |value, consumed| {
            if let Some(end) = self.ends.get(value as usize) {
                if consumed == host.len() {
                    exact = end.exact;
                } else if end.prefix.is_some() {
                    prefix = end.prefix;
                }
            }
            u32::MAX
        });
        if exact.is_some() {
            return exact;
        }
        self.backward.walk(host, Order::Backward, case, u32::MAX, |value, consumed| {
            if consumed < host.len() {
                suffix = Some(value);
            }
            u32::MAX
        });
        suffix.or(prefix).or(self.any)
    }
}

/// [`Domains`] while they grow.
#[derive(Debug, Default)]
pub(super) struct DomainsBuilder {
    forward: TrieBuilder,
    backward: TrieBuilder,
    ends: Vec<End>,
    any: Option<u32>,
    literal: bool,
}

impl DomainsBuilder {
    /// Adds one of `virtual_host`'s domains.
    pub(super) fn add(&mut self, domain: &str, virtual_host: u32) -> Result<(), DomainError> {
        let lower = domain.to_ascii_lowercase();
        if lower == "*" {
            if self.any.is_some() {
                return Err(DomainError::SecondWildcard);
            }
            self.any = Some(virtual_host);
            return Ok(());
        }
        self.literal = true;
        if let Some(suffix) = lower.strip_prefix('*') {
            let reversed: Vec<u8> = suffix.bytes().rev().collect();
            let mut fresh = false;
            self.backward.entry(&reversed, 0, || {
                fresh = true;
                virtual_host
            });
            return if fresh { Ok(()) } else { Err(DomainError::Duplicate) };
        }
        let (key, wildcard) = match lower.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (lower.as_str(), false),
        };
        let ends = &mut self.ends;
        let at = self.forward.entry(key.as_bytes(), 0, || {
            ends.push(End::default());
            ends.len() as u32 - 1
        });
        let Some(end) = self.ends.get_mut(at as usize) else { return Err(DomainError::Duplicate) };
        let place = if wildcard { &mut end.prefix } else { &mut end.exact };
        if place.is_some() {
            return Err(DomainError::Duplicate);
        }
        *place = Some(virtual_host);
        Ok(())
    }

    /// The compiled domains.
    pub(super) fn freeze(self) -> Domains {
        Domains {
            forward: self.forward.freeze(Order::Forward),
            backward: self.backward.freeze(Order::Backward),
            ends: self.ends.into(),
            any: self.any,
            only_any: !self.literal,
        }
    }
}

/// Where the port begins, at its colon; `None` without a port. An IPv6 literal's own colons are none.
pub(crate) fn port_start(host: &[u8]) -> Option<usize> {
    let colon = host.iter().rposition(|&b| b == b':')?;
    match host.iter().rposition(|&b| b == b']') {
        Some(bracket) if bracket > colon => None,
        _ => Some(colon),
    }
}

/// The host without its port (`ignore_port_in_host_matching`).
pub(super) fn without_port(host: &[u8]) -> &[u8] {
    port_start(host).and_then(|at| host.get(..at)).unwrap_or(host)
}

#[cfg(test)]
mod tests;
