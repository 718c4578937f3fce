//! The schema of every Envoy v3 message: static tables that `build.rs` makes from the descriptor set of
//! `envoy-types` and from the support ledger.
//!
//! A handle ([`Message`], [`Field`], [`Enum`], [`EnumValue`]) is a reference into the tables: `Copy`, nothing is
//! allocated, nothing is built at start-up.

mod rule;
mod tables;

pub use rule::{Form, Rule};
pub use tables::{Class, Enum, EnumValue, Field, Kind, Message, Oneof, State};

#[cfg(test)]
mod tests;
