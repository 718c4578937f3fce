//! Extensions that give an entry of a descriptor: expressions, and the inputs of matchers.

use super::Added;
use nuncio_codec::head::RequestHead;
use nuncio_core::cel::{Activation, Expression, Features};
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::format::FormatContext;
use nuncio_core::matcher::tree::Value;
use nuncio_core::matcher::{HttpFacts, HttpInput};
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::extensions::rate_limit_descriptors::expr::v3 as expr;
use prost::Name;

/// A compiled `extension` of a rate limit's action.
#[derive(Debug)]
pub(super) enum Extension {
    /// `expr.v3.Descriptor`, and its `skip_if_error`.
    Expression(Expression, bool),
    Input(HttpInput),
}

impl Extension {
    /// The entry's key, and what gives its value. `None`: refused, and the reason is recorded in `cx`.
    pub(super) fn compile(
        message: TypedExtensionConfig,
        cx: &CompileContext<'_>,
    ) -> Option<(Box<str>, Self)> {
        let TypedExtensionConfig { name, typed_config } = message;
        let any = typed_config.unwrap_or_default();
        let at = cx.field("typed_config");
        if type_name(&any.type_url) == expr::Descriptor::full_name() {
            let expr::Descriptor { descriptor_key, skip_if_error, expr_specifier } = at.unpack(&any)?;
            let Some(expr::descriptor::ExprSpecifier::Text(text)) = expr_specifier else {
                if !at.told_of("parsed") {
                    at.error("Rate limit descriptor extension failed: expression specifier is not set");
                }
                return None;
            };
            let compiled = Expression::new(&text, Features::default());
            let told = |error| {
                at.field("text").error(format!("Unable to parse descriptor expression: {error}"));
            };
            return Some((
                descriptor_key.into(),
                Self::Expression(compiled.map_err(told).ok()?, skip_if_error),
            ));
        }
        let Some(input) = HttpInput::compile(&any, &at)? else {
            cx.error(format!(
                "Didn't find a registered implementation for '{name}' with type URL: '{}'",
                type_name(&any.type_url)
            ));
            return None;
        };
        Some((name.into(), Self::Input(input)))
    }

    pub(super) fn value(&self, head: &RequestHead, formats: &FormatContext<'_>) -> Added {
        match self {
            Self::Expression(expression, optional) => {
                let mut text = Vec::new();
                match expression.write_text(&Activation::from(formats), &mut text) {
                    true => super::value(&text),
                    false => super::missing(*optional),
                }
            }
            Self::Input(input) => match input.value(&HttpFacts::request(head, formats.info)) {
                Value::Text(text) if text.is_empty() => Added::Nothing,
                Value::Text(text) => super::value(text.as_bytes()),
                Value::Unknown | Value::Absent | Value::Datum(_) | Value::Attributes(_) => Added::Spoils,
            },
        }
    }
}
