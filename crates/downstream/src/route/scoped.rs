//! Route tables by scope (`ScopedRoutes`): what the head of a request says chooses the table.

use super::RouteTable;
use nuncio_codec::head::HeaderMap;
use nuncio_core::config::CompileContext;
use nuncio_core::header::HeaderName;
use nuncio_proto::pb::envoy::config::route::v3::{self as route, RouteConfiguration};
use nuncio_proto::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;
use pb::scoped_routes::ConfigSpecifier;
use pb::scoped_routes::scope_key_builder::FragmentBuilder;
use pb::scoped_routes::scope_key_builder::fragment_builder::header_value_extractor::{
    ExtractType, KvElement,
};
use pb::scoped_routes::scope_key_builder::fragment_builder::{HeaderValueExtractor, Type};
use route::scoped_route_configuration::key::fragment::Type as Text;
use std::collections::HashMap;
use std::sync::Arc;

/// A compiled `ScopedRoutes` whose tables stand in the listener.
#[derive(Debug)]
pub struct ScopedRoutes {
    builder: Box<[Fragment]>,
    /// The number of a table by its key.
    by_key: HashMap<Key, usize>,
    tables: Box<[Arc<RouteTable>]>,
}

/// The parts of a scope's key, each with its length before it, so that no two keys are alike.
type Key = Box<[u8]>;

/// One part of a key: what stands in the first header of this name.
#[derive(Debug)]
struct Fragment {
    header: HeaderName,
    /// Between elements; empty where the value is one.
    separator: Box<str>,
    part: Part,
}

#[derive(Debug)]
enum Part {
    /// The element of this number.
    Index(usize),
    /// What follows the separator in the first element with this key.
    Element { key: Box<str>, separator: Box<str> },
}

impl Fragment {
    fn compile(message: FragmentBuilder, cx: &CompileContext<'_>) -> Option<Self> {
        let FragmentBuilder { r#type } = message;
        // The constraints ask for it.
        let Some(Type::HeaderValueExtractor(message)) = r#type else { return None };
        let HeaderValueExtractor { name, element_separator, extract_type } = message;
        let part = match extract_type {
            Some(ExtractType::Index(index)) if index > 0 && element_separator.is_empty() => {
                cx.error("Index > 0 for empty string element separator.");
                return None;
            }
            Some(ExtractType::Index(index)) => Part::Index(index as usize),
            Some(ExtractType::Element(KvElement { separator, key })) => {
                Part::Element { key: key.into(), separator: separator.into() }
            }
            None => {
                cx.error("HeaderValueExtractor extract_type not set.");
                return None;
            }
        };
        Some(Self { header: HeaderName::new(&name), separator: element_separator.into(), part })
    }

    fn value<'h>(&'h self, headers: &'h HeaderMap) -> Option<&'h str> {
        let value = std::str::from_utf8(self.header.value(headers)?).ok()?;
        let mut elements = elements(value, &self.separator);
        match &self.part {
            Part::Index(index) => elements.nth(*index),
            Part::Element { key, separator } => {
                let mut pairs = elements.filter_map(|element| element.split_once(&**separator));
                pairs.find(|(own, _)| *own == &**key).map(|(_, value)| value)
            }
        }
    }
}

fn elements<'v>(value: &'v str, separator: &'v str) -> impl Iterator<Item = &'v str> {
    let whole = separator.is_empty().then_some(value);
    let parts = (!separator.is_empty()).then(|| value.split(separator));
    whole.into_iter().chain(parts.into_iter().flatten())
}

/// A key of these parts.
fn key<'v>(parts: impl Iterator<Item = Option<&'v str>>) -> Option<Key> {
    let mut key = Vec::new();
    for part in parts {
        let part = part?;
        key.extend_from_slice(&part.len().to_le_bytes());
        key.extend_from_slice(part.as_bytes());
    }
    Some(key.into())
}

impl ScopedRoutes {
    /// Compiles the message; `table` makes a table of what a scope holds. `None`: refused, with the reasons in `cx`.
    pub fn compile(
        message: pb::ScopedRoutes,
        cx: &CompileContext<'_>,
        table: impl Fn(RouteConfiguration, &CompileContext<'_>) -> Option<Arc<RouteTable>>,
    ) -> Option<Self> {
        // The name is for what subscribes.
        let pb::ScopedRoutes { name: _, scope_key_builder, config_specifier } = message;
        let pb::scoped_routes::ScopeKeyBuilder { fragments } = scope_key_builder.unwrap_or_default();
        let builder_cx = cx.field("scope_key_builder");
        let fragments = fragments.into_iter().enumerate();
        let builder = fragments.map(|(i, message)| {
            Fragment::compile(message, &builder_cx.item("fragments", i).field("header_value_extractor"))
        });
        let builder = builder.collect::<Option<_>>()?;
        let Some(ConfigSpecifier::ScopedRouteConfigurationsList(list)) = config_specifier else {
            return None;
        };
        let pb::ScopedRouteConfigurationsList { scoped_route_configurations } = list;
        let cx = cx.field("scoped_route_configurations_list");
        let (mut tables, mut by_key, mut by_name) = (Vec::new(), HashMap::new(), HashMap::new());
        for (i, message) in scoped_route_configurations.into_iter().enumerate() {
            let cx = cx.item("scoped_route_configurations", i);
            let route::ScopedRouteConfiguration { name, route_configuration, key: own } = message;
            let Some(routes) = route_configuration else {
                cx.error(format!("scope '{name}' needs a route_configuration where it stands"));
                return None;
            };
            let route::scoped_route_configuration::Key { fragments } = own.unwrap_or_default();
            let own =
                key(fragments.iter().map(|route::scoped_route_configuration::key::Fragment { r#type }| {
                    r#type.as_ref().map(|Text::StringKey(text)| text.as_str())
                }))?;
            // As in Envoy, the last scope of a name or key takes the place of others.
            if let Some(other) = by_name.insert(name, own.clone()) {
                by_key.remove(&other);
            }
            by_key.insert(own, tables.len());
            tables.push(table(routes, &cx.field("route_configuration"))?);
        }
        Some(Self { builder, by_key, tables: tables.into() })
    }

    /// Every table, by number.
    pub fn tables(&self) -> &[Arc<RouteTable>] {
        &self.tables
    }

    /// The number of the table that a request's head chooses.
    pub fn find(&self, headers: &HeaderMap) -> Option<usize> {
        let key = key(self.builder.iter().map(|fragment| fragment.value(headers)))?;
        self.by_key.get(&key).copied()
    }
}

#[cfg(test)]
mod tests;
