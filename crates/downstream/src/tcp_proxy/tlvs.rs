//! Fields that the TCP proxy adds to the PROXY heads of its connections to hosts (`proxy_protocol_tlvs`).

use nuncio_codec::proxy::Tlv;
use nuncio_core::config::CompileContext;
use nuncio_core::format::{FormatContext, LineFormat};
use nuncio_core::stream_info::{ConnectionInfo, PROXY_PROTOCOL_STATE, ProxyProtocolState};
use nuncio_proto::pb::envoy::config::core::v3::TlvEntry;
use nuncio_proto::pb::envoy::extensions::filters::network::tcp_proxy::v3::ProxyProtocolTlvMergePolicy as Policy;
use std::rc::Rc;

/// Compiled `proxy_protocol_tlvs` and their policy.
#[derive(Debug)]
pub struct TlvsConfig {
    fields: Box<[(u8, Value)]>,
    policy: Policy,
}

#[derive(Debug)]
enum Value {
    Fixed(Box<[u8]>),
    Format(LineFormat),
}

impl TlvsConfig {
    /// `None`: refused, and every reason is recorded.
    pub(super) fn compile(list: Vec<TlvEntry>, policy: i32, cx: &CompileContext<'_>) -> Option<Self> {
        let count = list.len();
        let entries = list.into_iter().enumerate();
        let fields: Vec<_> =
            entries.filter_map(|(i, entry)| field(entry, &cx.item("proxy_protocol_tlvs", i))).collect();
        let policy = Policy::try_from(policy).unwrap_or(Policy::AddIfAbsent);
        (fields.len() == count).then(|| Self { fields: fields.into(), policy })
    }

    /// Leaves the fields where heads to hosts take theirs, beside or in place of what the client's own head said.
    pub(super) fn leave(&self, connection: &ConnectionInfo, cx: &FormatContext<'_>) {
        if self.fields.is_empty() {
            return;
        }
        let states = &connection.state.filter_state;
        let there = states.get(PROXY_PROTOCOL_STATE);
        let there = there.as_ref().and_then(|s| s.as_any().downcast_ref::<ProxyProtocolState>());
        let theirs = there.map_or(&[][..], |state| &state.tlvs);
        let tlvs = match self.policy {
            Policy::AddIfAbsent if there.is_some() => return,
            Policy::AddIfAbsent => self.tlvs(cx).collect(),
            Policy::OverwriteByTypeIfExistsOrAdd => {
                let others =
                    theirs.iter().filter(|(kind, _)| !self.fields.iter().any(|(own, _)| own == kind));
                self.tlvs(cx).chain(others.cloned()).collect()
            }
            Policy::AppendIfExistsOrAdd => theirs.iter().cloned().chain(self.tlvs(cx)).collect(),
        };
        states.set(PROXY_PROTOCOL_STATE, Rc::new(ProxyProtocolState { tlvs }));
    }

    fn tlvs<'a>(&'a self, cx: &'a FormatContext<'_>) -> impl Iterator<Item = Tlv> + 'a {
        self.fields.iter().map(|(kind, value)| match value {
            Value::Fixed(bytes) => (*kind, bytes.clone()),
            Value::Format(format) => {
                let mut text = Vec::new();
                format.render(cx, &mut text);
                (*kind, text.into())
            }
        })
    }
}

fn field(entry: TlvEntry, cx: &CompileContext<'_>) -> Option<(u8, Value)> {
    let TlvEntry { r#type, value, format_string } = entry;
    let value = match (value.is_empty(), format_string) {
        (true, None) => {
            cx.error("Invalid TLV configuration: one of 'value' or 'format_string' must be set.");
            return None;
        }
        (false, Some(_)) => {
            cx.error("Invalid TLV configuration: only one of 'value' or 'format_string' may be set.");
            return None;
        }
        (false, None) => Value::Fixed(value.into()),
        (true, Some(format)) => Value::Format(LineFormat::compile(&format, &cx.field("format_string"))?),
    };
    // A type that is no byte was refused before.
    Some((r#type.try_into().ok()?, value))
}
