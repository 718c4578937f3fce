//! Matchers: strings, headers, query parameters, address ranges, and the regular expressions below them.

mod header;
mod query;
mod re2;
mod regex;
mod string;

pub use header::{HeaderMatcher, QueryParameterMatcher, parameter};
pub use query::query_value;
pub use re2::RegexError;
pub use regex::{Regex, RegexRewrite};
pub use string::{StringMatcher, compile_regex};

#[cfg(test)]
mod tests;
