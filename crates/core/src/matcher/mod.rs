//! Matchers: strings, headers, query parameters, address ranges, and the regular expressions below them.

mod re2;
mod regex;

pub use re2::RegexError;
pub use regex::{Regex, RegexRewrite};
