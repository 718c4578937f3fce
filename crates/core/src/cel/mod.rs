//! Expressions of the Common Expression Language (github.com/google/cel-spec) as Envoy 1.40 evaluates them: over
//! attributes of connections and streams, without loops, so that an expression costs what it is long.
//!
//! Text is parsed, and messages that bring a tree are read, when the configuration is. Evaluation never fails loudly: an expression that comes to nothing,
//! because a header is missing or types do not fit, has no value.

mod ast;
mod attribute;
mod function;
mod lex;
mod message;
mod parse;
mod plan;
mod print;
mod value;

pub use attribute::{Activation, Node, virtual_host_wanted};
pub use message::MessageError;
pub use parse::SyntaxError;
pub use plan::PlanError;

use nuncio_proto::pb::cel::expr as pb;
use nuncio_proto::pb::envoy::config::core::v3::CelExpressionConfig;
use nuncio_proto::pb::google::api::expr::v1alpha1 as older;
use prost::Message;
use std::cell::Cell;
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
    /// Its message is none of one.
    #[error("failed to create an expression: {0}")]
    Message(#[from] MessageError),
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

    /// Compiles an expression's message.
    pub fn of_message(message: pb::Expr, features: Features) -> Result<Self, CelError> {
        Ok(Self(plan::plan(message::read(message)?, features)?))
    }

    /// The same of the message as it was called before; on the wire they are alike.
    pub fn of_older_message(message: &older::Expr, features: Features) -> Result<Self, CelError> {
        let message = pb::Expr::decode(&*message.encode_to_vec()).map_err(|_| PlanError::Depth)?;
        Self::of_message(message, features)
    }

    /// Whether it comes to `true`; `None` where it does not, and asked for a response that has not come.
    pub fn holds_by_now(&self, cx: &Activation<'_>) -> Option<bool> {
        let too_early = Cell::new(false);
        let holds = self.holds(&Activation { too_early: Some(&too_early), ..*cx });
        (holds || !too_early.get()).then_some(holds)
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
