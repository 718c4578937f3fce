//! What a predicate asks of one value: a text, or one of `envoy.extensions.matching.input_matchers`.

use super::{NotYet, Value, Vocabulary};
use crate::cel::{Expression, Features};
use crate::config::{CompileContext, type_name};
use crate::matcher::{CidrList, StringMatcher, ValueMatcher};
use crate::runtime::{Runtime, RuntimeFraction};
use crate::stats::Scope;
use crate::xx_hash::xx_hash64;
use nuncio_proto::pb::envoy::extensions::matching::input_matchers as pb;
use nuncio_proto::pb::xds::r#type::matcher::v3::CelMatcher;
use nuncio_proto::pb::xds::r#type::v3::{CelExpression, cel_expression::ExprSpecifier};
use pb::consistent_hashing::v3::ConsistentHashing;
use pb::ip::v3::Ip;
use pb::metadata::v3::Metadata;
use pb::runtime_fraction::v3::RuntimeFraction as HashedFraction;
use prost::Name;
use prost_types::Any;
use std::fmt;
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub(super) enum Check {
    /// `value_match`
    Text(StringMatcher),
    /// `ConsistentHashing`: the text's hash modulo `modulo` is at least `threshold`.
    Hash { threshold: u32, modulo: u32, seed: u64 },
    /// `RuntimeFraction`: the text's hash hits.
    Fraction { fraction: RuntimeFraction, runtime: Runtime, seed: u64 },
    /// `Ip`: the text is an address within these ranges.
    Address { ranges: CidrList, unread: Unread },
    /// `Metadata`
    Datum { value: ValueMatcher, invert: bool },
    /// `CelMatcher`
    Expression(Box<Expression>),
}

crate::stats_block! {
    /// What an `Ip` matcher counts below its `stat_prefix`.
    struct IpStats {
        counter ip_parsing_failed,
    }
}

/// Counts texts that are no addresses. All workers count in one place, one at a time.
pub(super) struct Unread(Mutex<Scope<IpStats>>);

impl Unread {
    #[cold]
    fn count(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ip_parsing_failed.inc();
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unread").finish_non_exhaustive()
    }
}

impl Check {
    /// A `custom_match`. `None`: refused, with the reason in `cx`.
    pub(super) fn compile(any: &Any, vocabulary: &impl Vocabulary, cx: &CompileContext<'_>) -> Option<Self> {
        let kind = type_name(&any.type_url);
        if kind == ConsistentHashing::full_name() {
            let ConsistentHashing { threshold, modulo, seed } = cx.unpack(any)?;
            if threshold > modulo {
                cx.error(format!("threshold cannot be greater than modulo: {threshold} > {modulo}"));
                return None;
            }
            return Some(Self::Hash { threshold, modulo, seed });
        }
        if kind == HashedFraction::full_name()
            && let Some(runtime) = vocabulary.runtime()
        {
            let HashedFraction { runtime_fraction, seed } = cx.unpack(any)?;
            let fraction = RuntimeFraction::compile(&runtime_fraction.unwrap_or_default());
            return Some(Self::Fraction { fraction, runtime: runtime.clone(), seed });
        }
        if kind == Ip::full_name()
            && let Some(stats) = vocabulary.stats()
        {
            let Ip { cidr_ranges, stat_prefix } = cx.unpack(any)?;
            let ranges = CidrList::compile(&cidr_ranges, cx, "cidr_ranges")?;
            let unread = Unread(Mutex::new(stats.scope(&format!("{stat_prefix}."))));
            return Some(Self::Address { ranges, unread });
        }
        if kind == Metadata::full_name() {
            let Metadata { value, invert } = cx.unpack(any)?;
            let value = ValueMatcher::compile(&value.unwrap_or_default(), &cx.field("value"))?;
            return Some(Self::Datum { value, invert });
        }
        if kind == CelMatcher::full_name() {
            let CelMatcher { expr_match } = cx.unpack(any)?;
            return expression(expr_match.unwrap_or_default(), &cx.field("expr_match"));
        }
        cx.unsupported(format!("the input matcher {} is not built here", any.type_url));
        None
    }

    /// Whether the value is one that it asks for; one of another kind never is. With `counts` it is counted where it
    /// cannot be read.
    pub(super) fn holds(&self, value: &Value<'_>, counts: bool) -> Result<bool, NotYet> {
        let text = match value {
            Value::Unknown => return Err(NotYet),
            Value::Absent => return Ok(false),
            Value::Datum(datum) => {
                let Self::Datum { value, invert } = self else { return Ok(false) };
                return Ok(value.matches(*datum) != *invert);
            }
            Value::Attributes(attributes) => {
                let Self::Expression(expression) = self else { return Ok(false) };
                return expression.holds_by_now(attributes).ok_or(NotYet);
            }
            Value::Text(text) => text.as_bytes(),
        };
        Ok(match self {
            Self::Text(matcher) => matcher.matches(text),
            Self::Hash { threshold, modulo, seed } => xx_hash64(text, *seed)
                .checked_rem(u64::from(*modulo))
                .is_some_and(|n| n >= u64::from(*threshold)),
            Self::Fraction { fraction, runtime, seed } => fraction.enabled(runtime, xx_hash64(text, *seed)),
            Self::Address { ranges, unread } => is_within(ranges, text, counts.then_some(unread)),
            Self::Datum { .. } | Self::Expression(_) => false,
        })
    }
}

/// An expression by its message. Of several forms the canonical ones come first, as in Envoy.
fn expression(message: CelExpression, cx: &CompileContext<'_>) -> Option<Check> {
    let CelExpression { expr_specifier, cel_expr_parsed, cel_expr_checked } = message;
    let features = Features::default();
    let (canonical, older) = match (cel_expr_checked, cel_expr_parsed, expr_specifier) {
        (Some(checked), ..) => (Some(checked.expr), None),
        (None, Some(parsed), _) => (Some(parsed.expr), None),
        (None, None, Some(ExprSpecifier::CheckedExpr(checked))) => (None, Some(checked.expr)),
        (None, None, Some(ExprSpecifier::ParsedExpr(parsed))) => (None, Some(parsed.expr)),
        (None, None, None) => (None, None),
    };
    let compiled = match (canonical, older) {
        (Some(expr), _) => Expression::of_message(expr.unwrap_or_default(), features),
        (None, Some(expr)) => Expression::of_older_message(&expr.unwrap_or_default(), features),
        (None, None) => {
            cx.error("failed to create an expression: CEL expression not set.");
            return None;
        }
    };
    match compiled {
        Ok(expression) => Some(Check::Expression(Box::new(expression))),
        Err(error) => {
            cx.error(error.to_string());
            None
        }
    }
}

/// Whether a text is an address within the ranges; counted in `unread` where it is none.
fn is_within(ranges: &CidrList, text: &[u8], unread: Option<&Unread>) -> bool {
    if text.is_empty() {
        return false;
    }
    match std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) {
        Some(ip) => ranges.contains(ip),
        None => {
            unread.into_iter().for_each(Unread::count);
            false
        }
    }
}
