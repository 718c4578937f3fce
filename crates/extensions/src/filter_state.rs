//! Objects of the filter state that configuration makes of formats
//! (`envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue`).

use nuncio_core::config::CompileContext;
use nuncio_core::format::{FormatContext, LineFormat};
use nuncio_core::stream_info::{FilterState, Sharing};
use nuncio_core::xx_hash::xx_hash64;
use nuncio_downstream::tcp_proxy::{CLUSTER_STATE, IDLE_STATE};
use nuncio_proto::pb::envoy::extensions::filters::common::set_filter_state::v3 as common;
use nuncio_proto::pb::envoy::extensions::filters::common::set_filter_state::v3::filter_state_value::SharedWithUpstream;
use nuncio_upstream::cluster::{DESTINATION_STATE, DYNAMIC_HOST_STATE, DYNAMIC_PORT_STATE};
use nuncio_upstream::transport::SERVER_NAME_STATE;
use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Objects to be made, in the order of their list.
#[derive(Debug)]
pub(crate) struct Objects(Box<[Object]>);

impl Objects {
    /// `field` is the list's name in `cx`. `None`: refused, and every reason is recorded.
    pub(crate) fn compile(
        list: Vec<common::FilterStateValue>,
        cx: &CompileContext<'_>,
        field: &str,
    ) -> Option<Self> {
        let count = list.len();
        let objects: Vec<_> =
            list.into_iter().enumerate().filter_map(|(i, m)| object(m, &cx.item(field, i))).collect();
        (objects.len() == count).then(|| Self(objects.into()))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// They themselves: each is made and set before the next one, which may read it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Object> {
        self.0.iter()
    }
}

/// An object to be made.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: Box<str>,
    kind: Kind,
    format: LineFormat,
    skip_if_empty: bool,
    /// `shared_with_upstream`
    sharing: Sharing,
}

/// Where a listener filter keeps where a connection was going, and where it came from.
const ORIGINAL_LOCAL_STATE: &str = "envoy.filters.listener.original_dst.local_ip";
const ORIGINAL_REMOTE_STATE: &str = "envoy.filters.listener.original_dst.remote_ip";

/// What makes objects of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Hashable,
    Number,
    /// An IP address with a port.
    Address,
    /// An IP address.
    Ip,
}

/// An object that is a text.
#[derive(Debug)]
pub(crate) struct Text {
    text: String,
    hashable: bool,
    sharing: Sharing,
    /// The address that it stands for.
    address: Option<IpAddr>,
}

impl Text {
    pub(crate) fn new(text: String) -> Self {
        Self { text, hashable: false, sharing: Sharing::None, address: None }
    }
}

impl FilterState for Text {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        Some(self.text.clone())
    }

    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn hash(&self) -> Option<u64> {
        self.hashable.then(|| xx_hash64(self.text.as_bytes(), 0))
    }

    fn sharing(&self) -> Sharing {
        self.sharing
    }
}

fn object(message: common::FilterStateValue, cx: &CompileContext<'_>) -> Option<Object> {
    let common::FilterStateValue { key, value, factory_key, skip_if_empty, shared_with_upstream } = message;
    let sharing = match SharedWithUpstream::try_from(shared_with_upstream) {
        Ok(SharedWithUpstream::Once) => Sharing::Once,
        Ok(SharedWithUpstream::Transitive) => Sharing::Transitive,
        Ok(SharedWithUpstream::None) | Err(_) => Sharing::None,
    };
    let Some(common::filter_state_value::Key::ObjectKey(key)) = key else {
        cx.error("object_key is required");
        return None;
    };
    let factory = if factory_key.is_empty() { &key } else { &factory_key };
    let kind = match factory.as_str() {
        "envoy.string" | CLUSTER_STATE | DYNAMIC_HOST_STATE | SERVER_NAME_STATE => Kind::Text,
        "envoy.hashable_string" => Kind::Hashable,
        IDLE_STATE | DYNAMIC_PORT_STATE => Kind::Number,
        DESTINATION_STATE | ORIGINAL_LOCAL_STATE | ORIGINAL_REMOTE_STATE => Kind::Address,
        "envoy.network.ip" => Kind::Ip,
        other if other.starts_with("envoy.") => {
            cx.unsupported(format!("objects of the kind {other} are not built"));
            return None;
        }
        other => {
            cx.error(format!("'{other}' does not have an object factory"));
            return None;
        }
    };
    let Some(common::filter_state_value::Value::FormatString(format)) = value else {
        cx.error("format_string is required");
        return None;
    };
    let format = LineFormat::compile(&format, &cx.field("format_string"))?;
    Some(Object { key: key.into(), kind, format, skip_if_empty, sharing })
}

impl Object {
    /// What it is for one stream or connection; `None` where there is to be none.
    pub(crate) fn make(&self, context: &FormatContext<'_>) -> Option<Rc<dyn FilterState>> {
        let mut text = Vec::new();
        self.format.render(context, &mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let address = match self.kind {
            Kind::Address => Some(text.parse::<SocketAddr>().ok()?.ip()),
            Kind::Ip => Some(text.parse::<IpAddr>().ok()?),
            Kind::Number if text.parse::<u64>().is_err() => return None,
            Kind::Text | Kind::Hashable if self.skip_if_empty && text.is_empty() => return None,
            Kind::Number | Kind::Text | Kind::Hashable => None,
        };
        let hashable = self.kind == Kind::Hashable;
        Some(Rc::new(Text { text, hashable, sharing: self.sharing, address }))
    }
}
