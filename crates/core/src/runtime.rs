//! Runtime keys: values that configuration names and an operator may override.
//!
//! Layers are static or the admin port's; disk and RTDS layers are refused by the support ledger until they
//! are built.

pub mod features;

use crate::config::{Fraction, fraction};
use nuncio_proto::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use prost_types::Struct;
use prost_types::value::Kind;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// The value of a key in one layer, as text.
pub type Values = BTreeMap<Box<str>, Box<str>>;

/// One layer; later ones override earlier ones.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its name.
    pub name: Box<str>,
    /// Its keys and values.
    pub values: Values,
    /// The admin port may change it (`/runtime_modify`).
    pub admin: bool,
}

impl Layer {
    /// A `static_layer`: nested structs become dotted keys; a `FractionalPercent` stays one value, as
    /// `numerator/denominator`. Lists and nulls mean nothing.
    pub fn fixed(name: &str, fields: &Struct) -> Self {
        let mut values = Values::new();
        flatten("", fields, &mut values);
        Self { name: name.into(), values, admin: false }
    }

    /// An `admin_layer`, empty until somebody writes to it.
    pub fn admin(name: &str) -> Self {
        Self { name: name.into(), values: Values::new(), admin: true }
    }
}

fn flatten(prefix: &str, fields: &Struct, out: &mut Values) {
    for (key, value) in &fields.fields {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let text = match value.kind.as_ref() {
            Some(Kind::NumberValue(n)) => n.to_string(),
            Some(Kind::BoolValue(b)) => b.to_string(),
            Some(Kind::StringValue(text)) => text.clone(),
            Some(Kind::StructValue(inner)) => match fraction_text(inner) {
                Some(text) => text,
                None => {
                    flatten(&key, inner, out);
                    continue;
                }
            },
            None | Some(Kind::NullValue(_) | Kind::ListValue(_)) => continue,
        };
        out.insert(key.into(), text.into());
    }
}

/// `numerator/denominator` of a struct that is a `FractionalPercent`.
fn fraction_text(fields: &Struct) -> Option<String> {
    let numerator = match fields.fields.get("numerator").map(|v| v.kind.as_ref()) {
        Some(Some(Kind::NumberValue(n))) => *n,
        None => 0.0,
        Some(_) => return None,
    };
    let denominator = match fields.fields.get("denominator").map(|d| d.kind.as_ref()) {
        None => 100,
        Some(Some(Kind::StringValue(name))) => match name.as_str() {
            "HUNDRED" => 100,
            "TEN_THOUSAND" => 10_000,
            "MILLION" => 1_000_000,
            _ => return None,
        },
        Some(_) => return None,
    };
    let only_these = fields.fields.keys().all(|k| k == "numerator" || k == "denominator");
    (only_these && !fields.fields.is_empty()).then(|| format!("{numerator}/{denominator}"))
}

/// All layers. Clones share them. As long as no layer has a key, reading one costs one load.
#[derive(Clone, Debug, Default)]
pub struct Runtime(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    any: AtomicBool,
    layers: RwLock<Vec<Layer>>,
}

fn any(layers: &[Layer]) -> bool {
    layers.iter().any(|layer| !layer.values.is_empty())
}

impl Runtime {
    /// The layers in their order, the last one strongest.
    pub fn new(layers: Vec<Layer>) -> Self {
        Self(Arc::new(Shared { any: any(&layers).into(), layers: RwLock::new(layers) }))
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Layer>> {
        self.0.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the layers.
    pub fn layers(&self) -> Vec<Layer> {
        self.read().clone()
    }

    /// Whether no layer has any key.
    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.0.any.load(Relaxed)
    }

    /// The final value of a key.
    pub fn get(&self, key: &str) -> Option<Box<str>> {
        if key.is_empty() || self.is_empty() {
            return None;
        }
        self.read().iter().rev().find_map(|layer| layer.values.get(key).cloned())
    }

    /// A key as `true` or `false`, in any case; `default` where it is neither.
    pub fn boolean(&self, key: &str, default: bool) -> bool {
        match self.get(key).map(|text| text.to_ascii_lowercase()).as_deref() {
            Some("true") => true,
            Some("false") => false,
            _ => default,
        }
    }

    /// Whether a key is there whose name begins so.
    pub fn has_prefix(&self, prefix: &str) -> bool {
        !self.is_empty()
            && self.read().iter().any(|layer| {
                let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
                layer.values.range::<str, _>(from).next().is_some_and(|(key, _)| key.starts_with(prefix))
            })
    }

    /// A key as a fraction: one that was configured as such, or a whole number of hundredths, as in Envoy.
    pub fn fraction(&self, key: &str, default: Fraction) -> Fraction {
        let Some(text) = self.get(key) else { return default };
        let (numerator, denominator) = text.split_once('/').unwrap_or((&text, "100"));
        match (numerator.parse(), denominator.parse()) {
            (Ok(numerator), Ok(denominator)) => Fraction::new(numerator, denominator),
            _ => default,
        }
    }

    /// A key as a whole number, which is what a fraction is cut to; `default` where it is unset, negative or no number.
    pub fn integer(&self, key: &str, default: u64) -> u64 {
        let Some(text) = self.get(key) else { return default };
        let cut = || text.parse().ok().filter(|number: &f64| *number >= 0.0 && number.is_finite());
        text.parse().ok().or_else(|| cut().map(|number| number as u64)).unwrap_or(default)
    }

    /// A key as a number; `default` where it is unset or no number.
    pub fn double(&self, key: &str, default: f64) -> f64 {
        self.get(key).and_then(|text| text.parse().ok()).filter(|n: &f64| n.is_finite()).unwrap_or(default)
    }

    /// Sets keys of the admin layer; an empty value removes the key. `false`: there is no admin layer.
    pub fn modify(&self, changes: impl IntoIterator<Item = (Box<str>, Box<str>)>) -> bool {
        let mut layers = self.0.layers.write().unwrap_or_else(PoisonError::into_inner);
        let Some(layer) = layers.iter_mut().rev().find(|layer| layer.admin) else { return false };
        for (key, value) in changes {
            if value.is_empty() {
                layer.values.remove(&key);
            } else {
                layer.values.insert(key, value);
            }
        }
        self.0.any.store(any(&layers), Relaxed);
        true
    }
}

/// A compiled `RuntimeFractionalPercent`: a fraction that a runtime key overrides.
#[derive(Clone, Debug)]
pub struct RuntimeFraction {
    key: Option<Box<str>>,
    default: Fraction,
}

impl RuntimeFraction {
    /// Compiles the message; an unset default is zero hits.
    pub fn compile(message: &RuntimeFractionalPercent) -> Self {
        let RuntimeFractionalPercent { default_value, runtime_key } = message;
        Self::new(runtime_key, default_value.as_ref().map(fraction).unwrap_or_default())
    }

    /// A fraction that `key` overrides, unless it is empty.
    pub fn new(key: &str, default: Fraction) -> Self {
        Self { key: (!key.is_empty()).then(|| key.into()), default }
    }

    /// Whether nothing can hit the fraction that holds now.
    #[inline]
    pub fn is_never(&self, runtime: &Runtime) -> bool {
        self.now(runtime).is_never()
    }

    /// Whether `random` hits the fraction that holds now.
    #[inline]
    pub fn enabled(&self, runtime: &Runtime, random: u64) -> bool {
        self.now(runtime).hit(random)
    }

    #[inline]
    fn now(&self, runtime: &Runtime) -> Fraction {
        match &self.key {
            Some(key) if !runtime.is_empty() => runtime.fraction(key, self.default),
            _ => self.default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuncio_proto::pb::envoy::r#type::v3::FractionalPercent;
    use prost_types::Value;

    #[test]
    fn a_static_layer_has_dotted_keys_and_fractions() {
        let value = |kind| Value { kind: Some(kind) };
        let of = |fields: Vec<(&str, Kind)>| Struct {
            fields: fields.into_iter().map(|(k, v)| (k.to_owned(), value(v))).collect(),
        };
        let fraction = of(vec![
            ("numerator", Kind::NumberValue(5.0)),
            ("denominator", Kind::StringValue("TEN_THOUSAND".into())),
        ]);
        let inner = of(vec![("b", Kind::NumberValue(7.0)), ("c", Kind::BoolValue(true))]);
        let fields = of(vec![
            ("f", Kind::StructValue(fraction)),
            ("n", Kind::StructValue(inner)),
            ("p", Kind::NumberValue(50.0)),
        ]);
        let runtime = Runtime::new(vec![Layer::fixed("l", &fields)]);
        assert_eq!(runtime.integer("n.b", 9), 7);
        assert!(runtime.boolean("n.c", false) && !runtime.boolean("n.b", false));
        let hits = |key, random| runtime.fraction(key, Fraction::ALWAYS).hit(random);
        assert!(hits("f", 10_004) && !hits("f", 5));
        assert!(hits("p", 149) && !hits("p", 50));
        assert!(hits("none", 99));
    }

    #[test]
    fn the_last_layer_wins_and_only_the_admin_layer_changes() {
        let layer = |name: &str, admin, pairs: &[(&str, &str)]| Layer {
            name: name.into(),
            admin,
            values: pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        };
        let fixed = Runtime::new(vec![layer("a", false, &[("k", "1")])]);
        assert!(!fixed.modify([("k".into(), "2".into())]));
        let runtime = Runtime::new(vec![layer("a", false, &[("k", "1")]), layer("b", true, &[])]);
        assert_eq!(runtime.integer("k", 9), 1);
        assert!(runtime.modify([("k".into(), "2".into())]));
        assert_eq!(runtime.integer("k", 9), 2);
        assert!(runtime.modify([("k".into(), "".into())]));
        assert_eq!((runtime.integer("k", 9), runtime.integer("none", 9)), (1, 9));
    }

    #[test]
    fn a_runtime_key_replaces_a_fraction() {
        let message = RuntimeFractionalPercent {
            default_value: Some(FractionalPercent { numerator: 100, denominator: 0 }),
            runtime_key: "k".into(),
        };
        let compiled = RuntimeFraction::compile(&message);
        assert!(compiled.enabled(&Runtime::default(), 99));
        let values = [("k".into(), "0".into())].into();
        let off = Runtime::new(vec![Layer { name: "a".into(), values, admin: false }]);
        assert!(!compiled.enabled(&off, 0));
    }
}
