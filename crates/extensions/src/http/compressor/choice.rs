//! Which of a chain's compressors a client would like best (RFC 9110 section 12.5.3).

use nuncio_core::stream_info::FilterState;
use std::any::Any;

/// The filter state in which the compressors of a chain find one another.
pub(super) const REGISTRY: &str = "compressors";

/// A compressor that may be chosen.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Its coding.
    pub(super) coding: &'static str,
    /// The types that it takes, in any letters; empty: any.
    pub(super) types: std::sync::Arc<[Box<str>]>,
    /// It wins over those that a client likes as well.
    pub(super) first: bool,
}

/// The compressors of a stream in the order of the chain.
#[derive(Debug)]
pub(super) struct Registry(pub(super) Vec<Candidate>);

impl FilterState for Registry {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        None
    }
}

/// Why a choice was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The client named the coding.
    Named,
    /// The client takes any.
    Wildcard,
    /// The client would rather have none.
    Identity,
    /// It said nothing that can be met.
    Nothing,
}

/// What is chosen, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// `None`: no coding.
    pub(super) coding: Option<&'static str>,
    pub(super) said: Said,
}

/// Chooses by `accept`, an `accept-encoding`, among those of `candidates` that take `content_type`.
pub(super) fn choose(accept: &str, content_type: &str, candidates: &[Candidate]) -> Choice {
    let nothing = Choice { coding: None, said: Said::Nothing };
    let mut allowed: Vec<&Candidate> = Vec::new();
    for candidate in candidates {
        let takes = content_type.is_empty()
            || candidate.types.is_empty()
            || candidate.types.iter().any(|t| t.eq_ignore_ascii_case(content_type));
        if takes && allowed.iter().all(|a| a.coding != candidate.coding) {
            allowed.push(candidate);
        }
    }
    let mut wishes = Vec::new();
    for token in accept.split(',').filter(|token| !token.is_empty()) {
        let Some(wish) = wish(token) else { continue };
        if wish.1 == 0.0 {
            allowed.retain(|a| a.coding != wish.0);
        }
        wishes.push(wish);
    }
    let (mut best, mut weight, mut first) = ("identity", 0.0, false);
    for (name, q) in wishes {
        let candidate = allowed.iter().find(|a| a.coding == name);
        if candidate.is_none() && name != "identity" && name != "*" {
            continue;
        }
        let goes_first = candidate.is_some_and(|c| c.first);
        if q > weight || q == weight && q > 0.0 && goes_first && !first {
            (best, weight, first) = (name, q, goes_first);
        }
    }
    if weight == 0.0 {
        return nothing;
    }
    match best {
        "identity" => Choice { coding: None, said: Said::Identity },
        "*" => Choice {
            coding: allowed.iter().find(|a| a.first).or(allowed.first()).map(|a| a.coding),
            said: Said::Wildcard,
        },
        name => {
            Choice { coding: allowed.iter().find(|a| a.coding == name).map(|a| a.coding), said: Said::Named }
        }
    }
}

/// A coding and its weight; `None` where the weight is no number.
fn wish(token: &str) -> Option<(&str, f32)> {
    let Some((name, parameter)) = token.split_once(';') else { return Some((token.trim(), 1.0)) };
    let weight = match parameter.split_once('=') {
        Some((key, value)) if key.trim().eq_ignore_ascii_case("q") => value.trim().parse().ok()?,
        _ => 1.0,
    };
    Some((name.trim(), weight))
}

#[cfg(test)]
mod tests;
