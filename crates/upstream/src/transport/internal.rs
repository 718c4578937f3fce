//! `envoy.transport_sockets.internal_upstream`: what an internal listener is told beside the bytes.

use super::TransportOptions;
use crate::cluster::ClusterConfig;
use crate::host::Host;
use crate::pool::Passed;
use nuncio_core::config::CompileContext;
use nuncio_core::stream_info::Metadata;
use nuncio_proto::pb::envoy::extensions::transport_sockets::internal_upstream::v3::internal_upstream_transport::MetadataValueSource;
use nuncio_proto::pb::envoy::r#type::metadata::v3::MetadataKind;
use nuncio_proto::pb::envoy::r#type::metadata::v3::metadata_kind::Kind;

/// Which metadata goes with a connection (`passthrough_metadata`); filter state does where streams share it.
#[derive(Debug, Default)]
pub(crate) struct PassingConfig(Box<[Source]>);

/// A namespace, and whose.
#[derive(Debug)]
struct Source {
    name: Box<str>,
    of: Of,
}

#[derive(Clone, Copy, Debug)]
enum Of {
    Host,
    Cluster,
}

impl PassingConfig {
    pub(super) fn compile(list: Vec<MetadataValueSource>, cx: &CompileContext<'_>) -> Option<Self> {
        let source = |(i, message): (usize, MetadataValueSource)| {
            let MetadataValueSource { kind, name } = message;
            let of = match kind.and_then(|MetadataKind { kind }| kind) {
                Some(Kind::Host(_)) => Of::Host,
                Some(Kind::Cluster(_)) => Of::Cluster,
                Some(Kind::Request(_) | Kind::Route(_)) | None => {
                    cx.item("passthrough_metadata", i)
                        .field("kind")
                        .error(format!("metadata type is not supported: {name}"));
                    return None;
                }
            };
            Some(Source { name: name.into(), of })
        };
        list.into_iter().enumerate().map(source).collect::<Option<_>>().map(Self)
    }

    /// What goes with a connection to `host`; of two sources of one name the last that has something counts.
    pub(super) fn passed(&self, cluster: &ClusterConfig, host: &Host) -> Passed {
        let (of_host, mut metadata) = (host.metadata(), Metadata::new());
        for Source { name, of } in &self.0 {
            let all = match of {
                Of::Host => of_host.as_deref(),
                Of::Cluster => cluster.metadata.as_deref(),
            };
            if let Some(fields) = all.and_then(|all| all.get(&**name)) {
                metadata.insert(name.as_ref().to_owned(), fields.clone());
            }
        }
        Passed { metadata, objects: host.options().map(TransportOptions::objects).unwrap_or_default() }
    }
}
