//! `envoy.filters.http.set_metadata`: streams get dynamic metadata from the configuration.

use super::frame::{Framed, Live, compiled};
use nuncio_core::config::CompileContext;
use nuncio_core::stats::Scope;
use nuncio_core::stream_info::NamespaceFields;
use nuncio_downstream::filter::{Compiled, Flow, HttpFilter, HttpFilterFactory, Request, RouteSays};
use nuncio_proto::pb::envoy::extensions::filters::http::set_metadata::v3::{Config, Metadata};
use prost_types::{Any, Struct, Value, value::Kind};
use std::rc::Rc;
use std::sync::Arc;

nuncio_core::stats_block! {
    /// What the filter counts, below `http.PREFIX.set_metadata.`.
    struct SetMetadataStats {
        counter overwrite_denied,
    }
}

/// Compiles the filter's message.
pub struct SetMetadataFactory;

impl HttpFilterFactory for SetMetadataFactory {
    type Config = Config;
    type PerRoute = Config;

    #[allow(deprecated, reason = "Envoy still takes the older place of one namespace")]
    fn compile(&self, message: Config, _: &CompileContext<'_>) -> Option<Compiled> {
        let Config { metadata_namespace, value, metadata } = message;
        let mut entries = Vec::new();
        if let Some(value) = value.filter(|_| !metadata_namespace.is_empty()) {
            entries.push(Entry {
                value: Said::fields(&metadata_namespace, value),
                namespace: metadata_namespace,
                merges: true,
            });
        }
        for Metadata { metadata_namespace, allow_overwrite, value, typed_value } in metadata {
            let value = match (value, typed_value) {
                (Some(fields), _) => Said::fields(&metadata_namespace, fields),
                (None, Some(typed)) => Said::Typed(typed),
                (None, None) => continue,
            };
            entries.push(Entry { namespace: metadata_namespace, value, merges: allow_overwrite });
        }
        compiled::<SetMetadataFilter>(entries.into())
    }
}

/// What is set in one namespace.
struct Entry {
    namespace: String,
    value: Said,
    /// What is there is merged with it; otherwise it stays as it is.
    merges: bool,
}

enum Said {
    Fields(Arc<NamespaceFields>),
    /// A message, which is replaced whole.
    Typed(Any),
}

impl Said {
    fn fields(namespace: &str, fields: Struct) -> Self {
        Self::Fields(Arc::new(NamespaceFields { namespace: namespace.into(), fields }))
    }
}

/// One stream's filter.
struct SetMetadataFilter {
    live: Rc<Live<Self>>,
    entries: Arc<Box<[Entry]>>,
}

impl Framed for SetMetadataFilter {
    type Settings = Box<[Entry]>;
    type Stats = Scope<SetMetadataStats>;

    fn stat_prefix(_: &Self::Settings, hcm: &str) -> String {
        format!("{hcm}set_metadata.")
    }

    fn make(live: Rc<Live<Self>>, entries: Arc<Self::Settings>, _: RouteSays<'_>) -> Option<Self> {
        Some(Self { live, entries })
    }
}

impl HttpFilter for SetMetadataFilter {
    fn sees_responses(&self) -> bool {
        false
    }

    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        for Entry { namespace, value, merges } in self.entries.iter() {
            let fields = match value {
                Said::Fields(fields) => fields,
                Said::Typed(message) => {
                    if !request.info.set_typed_metadata(namespace, message.clone(), *merges) {
                        self.live.stats.overwrite_denied.inc();
                    }
                    continue;
                }
            };
            if !request.info.has_dynamic_metadata(namespace) {
                request.info.note_dynamic_metadata(fields);
            } else if !merges {
                self.live.stats.overwrite_denied.inc();
            } else if let Some(old) = request.info.dynamic_metadata().and_then(|m| m.get(namespace)) {
                let fields = merged(old, &fields.fields);
                request.info.set_dynamic_metadata(namespace, fields);
            }
        }
        Flow::Continue
    }
}

/// The fields of both: lists grow, structs merge, everything else is replaced.
fn merged(old: &Struct, new: &Struct) -> Struct {
    let mut fields = old.fields.clone();
    for (key, value) in &new.fields {
        let merged = match (fields.get(key).and_then(|v| v.kind.as_ref()), &value.kind) {
            (Some(Kind::ListValue(old)), Some(Kind::ListValue(new))) => {
                let values = old.values.iter().chain(&new.values).cloned().collect();
                Value { kind: Some(Kind::ListValue(prost_types::ListValue { values })) }
            }
            (Some(Kind::StructValue(old)), Some(Kind::StructValue(new))) => {
                Value { kind: Some(Kind::StructValue(merged(old, new))) }
            }
            _ => value.clone(),
        };
        fields.insert(key.clone(), merged);
    }
    Struct { fields }
}
