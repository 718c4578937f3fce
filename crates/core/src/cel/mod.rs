//! Expressions of the Common Expression Language (github.com/google/cel-spec) as Envoy 1.40 evaluates them: over
//! attributes of connections and streams, without loops, so that an expression costs what it is long.
//!
//! Text is parsed when the configuration is read. Evaluation never fails loudly: an expression that comes to nothing,
//! because a header is missing or types do not fit, has no value.

mod ast;
mod attribute;
mod function;
mod lex;
mod parse;
mod plan;
mod print;
mod value;

pub use attribute::{Activation, Node, virtual_host_wanted};
pub use parse::SyntaxError;
pub use plan::PlanError;

use nuncio_proto::pb::envoy::config::core::v3::CelExpressionConfig;
use value::Value;

/// What expressions may do beyond what is always allowed (`envoy.config.core.v3.CelExpressionConfig`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    string_conversion: bool,
    string_concat: bool,
    string_functions: bool,
}

impl From<Option<CelExpressionConfig>> for Features {
    fn from(message: Option<CelExpressionConfig>) -> Self {
        let CelExpressionConfig { enable_string_conversion, enable_string_concat, enable_string_functions } =
            message.unwrap_or_default();
        Self {
            string_conversion: enable_string_conversion,
            string_concat: enable_string_concat,
            string_functions: enable_string_functions,
        }
    }
}

/// Why an expression is refused, in Envoy's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CelError {
    /// It does not read as one.
    #[error("Not able to parse expression: INVALID_ARGUMENT: {0}")]
    Syntax(#[from] SyntaxError),
    /// It cannot be evaluated.
    #[error("failed to create an expression: {0}")]
    Plan(#[from] PlanError),
}

/// A compiled expression.
#[derive(Debug)]
pub struct Expression(plan::Node);

impl Expression {
    /// Compiles an expression's text.
    pub fn new(text: &str, features: Features) -> Result<Self, CelError> {
        Ok(Self(plan::plan(parse::parse(text)?, features)?))
    }

    /// Whether it comes to `true`.
    pub fn holds(&self, cx: &Activation<'_>) -> bool {
        matches!(self.0.evaluate(cx), Ok(Value::Bool(true)))
    }

    /// Appends its value as text; `false`, and nothing appended, where it has none.
    pub fn write_text(&self, cx: &Activation<'_>, out: &mut Vec<u8>) -> bool {
        self.0.evaluate(cx).map(|value| print::text(&value, out)).is_ok()
    }

    /// Appends its value as JSON, text cut to `limit` bytes; `false`, and nothing appended, where it is null, has none
    /// or none that JSON could hold.
    pub fn write_json(&self, cx: &Activation<'_>, limit: usize, out: &mut Vec<u8>) -> bool {
        let from = out.len();
        let written = match self.0.evaluate(cx) {
            Ok(Value::Null) | Err(_) => false,
            Ok(value) => print::json(&value, limit, out),
        };
        if !written {
            out.truncate(from);
        }
        written
    }
}

#[cfg(test)]
mod tests;
