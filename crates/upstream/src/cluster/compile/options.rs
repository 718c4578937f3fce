//! How connections leave the machine.

use nuncio_core::config::{CompileContext, socket_address, type_name};
use nuncio_net::listen::{Keepalive, SocketOption};
use nuncio_net::stream::{AddressFamily, ConnectOptions, HappyEyeballs, LocalAddress};
use nuncio_proto::pb::envoy::config::cluster::v3::UpstreamConnectionOptions;
use nuncio_proto::pb::envoy::config::cluster::v3::upstream_connection_options::{
    FirstAddressFamilyVersion, HappyEyeballsConfig,
};
use nuncio_proto::pb::envoy::config::core::v3 as pb;
use nuncio_proto::pb::envoy::config::upstream::local_address_selector::v3::DefaultLocalAddressSelector;
use prost::Name as _;

/// Compiles what cluster `name` says of its connections; `of_all` is what is said of those of all clusters.
pub(super) fn compile(
    name: &str,
    bind: Option<pb::BindConfig>,
    connection: Option<UpstreamConnectionOptions>,
    cx: &CompileContext<'_>,
    of_all: Option<&ConnectOptions>,
) -> Option<ConnectOptions> {
    let mut options = match bind {
        None => of_all.cloned().unwrap_or_default(),
        Some(bind) => compile_bind(&format!("Cluster {name}"), bind, cx)?,
    };
    if let Some(UpstreamConnectionOptions { tcp_keepalive, happy_eyeballs_config }) = connection {
        options.keepalive = tcp_keepalive.and_then(Keepalive::compile);
        options.eyeballs = happy_eyeballs_config.map(compile_eyeballs).unwrap_or_default();
    }
    Some(options)
}

fn compile_eyeballs(message: HappyEyeballsConfig) -> HappyEyeballs {
    let HappyEyeballsConfig { first_address_family_version, first_address_family_count } = message;
    let first = match FirstAddressFamilyVersion::try_from(first_address_family_version) {
        Ok(FirstAddressFamilyVersion::V4) => Some(AddressFamily::V4),
        Ok(FirstAddressFamilyVersion::V6) => Some(AddressFamily::V6),
        Ok(FirstAddressFamilyVersion::Pipe) => Some(AddressFamily::Pipe),
        Ok(FirstAddressFamilyVersion::Internal) => Some(AddressFamily::Internal),
        Ok(FirstAddressFamilyVersion::Default) | Err(_) => None,
    };
    HappyEyeballs { first, count: first_address_family_count.unwrap_or(1) }
}

/// Compiles the field `upstream_bind_config` of `cx`, which belongs to `owner`.
pub(super) fn compile_bind(
    owner: &str,
    bind: pb::BindConfig,
    cx: &CompileContext<'_>,
) -> Option<ConnectOptions> {
    let cx = &cx.field("upstream_bind_config");
    let pb::BindConfig {
        source_address,
        freebind,
        socket_options,
        additional_source_addresses,
        extra_source_addresses,
        local_address_selector,
    } = bind;
    if let Some(pb::TypedExtensionConfig { name: _, typed_config }) = local_address_selector {
        let kind = typed_config.map(|any| type_name(&any.type_url).to_owned()).unwrap_or_default();
        if kind != DefaultLocalAddressSelector::full_name() {
            cx.field("local_address_selector").error(format!(
                "Didn't find a registered implementation for the selector with type URL: '{kind}'"
            ));
            return None;
        }
    }
    let of_cluster = format!("{owner}'s upstream binding config");
    if !additional_source_addresses.is_empty() && !extra_source_addresses.is_empty() {
        cx.error(format!(
            "Can't specify both `extra_source_addresses` and `additional_source_addresses` in the {of_cluster}"
        ));
        return None;
    }
    let further = compile_further(extra_source_addresses, &additional_source_addresses, cx)?;
    let mut sources = Vec::new();
    match source_address {
        Some(source) => sources.push(LocalAddress {
            address: socket_address(&source, &cx.field("source_address"))?,
            options: None,
        }),
        None if further.is_empty() => {}
        None => {
            cx.error(format!(
                "{of_cluster} has extra/additional source addresses but no source_address. Extra/additional \
                 addresses cannot be specified if source_address is not set."
            ));
            return None;
        }
    }
    if further.len() > 1 {
        cx.error(format!(
            "{of_cluster} has more than one extra/additional source addresses. Only one extra/additional source can \
             be supported in BindConfig's extra_source_addresses/additional_source_addresses field"
        ));
        return None;
    }
    sources.extend(further);
    if let [first, second] = &*sources
        && first.address.is_ipv4() == second.address.is_ipv4()
    {
        cx.error(format!(
            "{of_cluster} has two same IP version source addresses. Only two different IP version source addresses \
             can be supported in BindConfig's source_address and extra_source_addresses/additional_source_addresses \
             fields"
        ));
        return None;
    }
    Some(ConnectOptions {
        sources,
        freebind: freebind.unwrap_or(false),
        keepalive: None,
        options: SocketOption::compile_all(socket_options, cx)?,
        eyeballs: HappyEyeballs::default(),
    })
}

/// The source addresses beside the first, by either name of the field.
fn compile_further(
    extra: Vec<pb::ExtraSourceAddress>,
    additional: &[pb::SocketAddress],
    cx: &CompileContext<'_>,
) -> Option<Vec<LocalAddress>> {
    let mut sources = Vec::with_capacity(extra.len() + additional.len());
    for (i, pb::ExtraSourceAddress { address, socket_options }) in extra.into_iter().enumerate() {
        let cx = cx.item("extra_source_addresses", i);
        let options = match socket_options {
            None => None,
            Some(pb::SocketOptionsOverride { socket_options }) => {
                Some(SocketOption::compile_all(socket_options, &cx.field("socket_options"))?)
            }
        };
        let address = socket_address(&address.unwrap_or_default(), &cx.field("address"))?;
        sources.push(LocalAddress { address, options });
    }
    for (i, address) in additional.iter().enumerate() {
        let address = socket_address(address, &cx.item("additional_source_addresses", i))?;
        sources.push(LocalAddress { address, options: None });
    }
    Some(sources)
}
