//! Matchers: strings, headers, query parameters, address ranges, and the regular expressions below them.

mod query;
mod re2;
mod regex;

pub use query::query_value;
pub use re2::RegexError;
pub use regex::{Regex, RegexRewrite};
