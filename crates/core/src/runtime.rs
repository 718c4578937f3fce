//! Runtime keys: values that configuration names and an operator may override.
//!
//! Layers are static or the admin port's; disk and RTDS layers are refused by the support ledger until they
//! are built.

use crate::config::{Fraction, fraction};
use nuncio_proto::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use nuncio_proto::pb::envoy::r#type::v3::FractionalPercent;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

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

/// All layers. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Runtime(Arc<RwLock<Vec<Layer>>>);

impl Runtime {
    /// The layers in their order, the last one strongest.
    pub fn new(layers: Vec<Layer>) -> Self {
        Self(Arc::new(RwLock::new(layers)))
    }

    /// A copy of the layers.
    pub fn layers(&self) -> Vec<Layer> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The final value of a key.
    pub fn get(&self, key: &str) -> Option<Box<str>> {
        let layers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        layers.iter().rev().find_map(|layer| layer.values.get(key).cloned())
    }

    /// A key as a whole number; `default` where it is unset or no number.
    pub fn integer(&self, key: &str, default: u64) -> u64 {
        self.get(key).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// Sets keys of the admin layer; an empty value removes the key. `false`: there is no admin layer.
    pub fn modify(&self, changes: impl IntoIterator<Item = (Box<str>, Box<str>)>) -> bool {
        let mut layers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(layer) = layers.iter_mut().rev().find(|layer| layer.admin) else { return false };
        for (key, value) in changes {
            if value.is_empty() {
                layer.values.remove(&key);
            } else {
                layer.values.insert(key, value);
            }
        }
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
        Self {
            key: Some(runtime_key.as_str().into()).filter(|k: &Box<str>| !k.is_empty()),
            default: default_value.as_ref().map(fraction).unwrap_or_default(),
        }
    }

    /// Whether `random` hits. A key's whole number replaces the numerator of hundredths, as in Envoy.
    pub fn enabled(&self, runtime: &Runtime, random: u64) -> bool {
        let set =
            self.key.as_ref().and_then(|key| runtime.get(key)).and_then(|text| text.parse::<u32>().ok());
        let chosen = match set {
            Some(numerator) => fraction(&FractionalPercent { numerator, denominator: 0 }),
            None => self.default,
        };
        chosen.hit(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
