//! Matchers: strings, headers, query parameters, metadata, address ranges, and the regular expressions below them.

mod cidr;
mod filter_state;
mod header;
mod inputs;
mod metadata;
mod query;
mod re2;
mod regex;
mod string;
pub mod tree;

pub use cidr::{AddressMatcher, CidrList};
pub use filter_state::FilterStateMatcher;
pub use header::{HeaderMatcher, QueryParameterMatcher, parameter, query_of};
pub use inputs::{HttpFacts, HttpInput, NetworkFacts, NetworkInput, is_local};
pub use metadata::{MetadataMatcher, MetadataPath, ValueMatcher};
pub use query::query_value;
pub use re2::RegexError;
pub use regex::{Regex, RegexRewrite, RegexSearch, SubstitutionError, program_fits};
pub use string::{StringMatcher, compile_regex};

#[cfg(test)]
mod tests;
