//! The Envoy v3 messages, and how text becomes them.
//!
//! [`pb`] holds the messages with the fields that nuncio honours, and no others; [`schema`] holds every field of
//! every message as tables, with the support ledger beside them.

pub mod context;
pub mod error;
pub mod json;
pub mod load;
pub mod near;
pub mod place;
pub mod schema;
pub mod support;
pub mod text;
pub mod validate;
pub mod wire;

pub use context::{CompileContext, Reported, Sink, Unsupported, type_name};
pub use error::{ConfigError, ErrorKind, Errors};
pub use load::{LoadOptions, Loaded, Resource, Source, load, read};
pub use place::{FileId, Place, PlaceTree};

/// Slim prost messages: those that the support ledger names, with their built fields only.
///
/// Modules follow the protobuf packages. Enum fields are `i32`; `TryFrom<i32>` of the enum knows the built values.
#[allow(missing_docs, clippy::all, clippy::pedantic)] // Generated; the schema documents the fields.
#[rustfmt::skip]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/pb.rs"));
}

/// A number that is no built value of its enum. The support check refuses such values before anything is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEnumValue(pub i32);

impl std::fmt::Display for UnknownEnumValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is no value of the enum that is built", self.0)
    }
}

impl std::error::Error for UnknownEnumValue {}

#[cfg(test)]
mod tests;
