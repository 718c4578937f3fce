//! What a request wants of its connection. Connections are shared among those that want the same.

use super::UpstreamTransport;
use crate::cluster::ClusterConfig;
use crate::host::Host;
use nuncio_codec::head::RequestHead;
use nuncio_core::stream_info::{FilterState, SharedObjects, StreamInfo};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::rc::Rc;

/// The filter state that names the server to ask for.
pub const SERVER_NAME_STATE: &str = "envoy.network.upstream_server_name";

/// `auto_sni` and what belongs to it (`upstream_http_protocol_options`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutoServerName {
    /// `auto_sni`
    pub server_name: bool,
    /// `auto_san_validation`
    pub san: bool,
    /// `override_auto_sni_header`, in lower case; empty without one.
    pub header: Box<str>,
}

/// What a connection has to be like beside what its cluster says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TransportOptions {
    /// The server name to ask for, in place of the configured one.
    pub(crate) server_name: Option<Box<str>>,
    /// A name of which the host's certificate must be.
    pub(crate) san: Option<Box<str>>,
    /// What is said before anything else.
    pub(crate) proxy_head: Option<Box<[u8]>>,
    /// The one client's connection that may use it (`connection_pool_per_downstream_connection`).
    client: Option<u64>,
    /// The filter state of the streams that may use it, as far as they share it; 0: none.
    shared: u64,
    /// What an internal listener is told of the stream that the connection is opened for.
    told: ToldObjects,
}

/// Objects that go with a connection. Those without a hash keep nobody from sharing it: whoever comes first is told of.
#[derive(Clone, Debug, Default)]
struct ToldObjects(SharedObjects);

impl PartialEq for ToldObjects {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_empty() == other.0.is_empty()
    }
}

impl Eq for ToldObjects {}

impl Hash for ToldObjects {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.is_empty().hash(state);
    }
}

/// What connections to a cluster's hosts may be told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// A server's name: some of them are secured.
    name: bool,
    /// A PROXY head.
    client: bool,
    /// Nothing, but each client has its own.
    apart: bool,
    /// Filter state: some of them are internal, or are chosen by it.
    state: bool,
}

impl ClusterConfig {
    fn transports(&self) -> impl Iterator<Item = &UpstreamTransport> {
        std::iter::once(&self.transport).chain(self.matches.iter().map(|m| &m.transport))
    }

    /// Whether all of its connections are secured.
    pub(crate) fn is_secured(&self) -> bool {
        self.transports().all(|t| t.secured.is_some())
    }

    /// What [`told`](Self::told) shall say.
    pub(crate) fn may_be_told(&self) -> Told {
        Told {
            name: self.transports().any(|t| t.secured.is_some()),
            client: self.transports().any(|t| t.proxy_head.is_some()),
            apart: self.pool_per_client,
            state: self.transports().any(|t| t.passing.is_some())
                || self.matcher.as_ref().is_some_and(|matcher| matcher.looks_at_state()),
        }
    }
}

impl Host {
    /// Whether requests to it by way of an `asked` cluster may want anything of their connections.
    #[inline]
    pub fn has_transport_options(&self, asked: &ClusterConfig, info: &StreamInfo) -> bool {
        let told = self.config().told;
        told.name && asked.http.auto_server_name.is_some()
            || told.client
            || told.apart
            || info.may_have_filter_state()
    }

    /// What a request, with the cluster that was asked for the host, wants of its connection, and what is known of its
    /// stream and of the client's connection makes of that; `None`: nothing.
    pub fn transport_options(
        &self,
        request: Option<(&ClusterConfig, &RequestHead)>,
        info: Option<&StreamInfo>,
    ) -> Option<Rc<TransportOptions>> {
        let config = self.config();
        let client = info.map(|info| &*info.connection);
        let mut options = TransportOptions::default();
        if let Some(info) = info.filter(|info| info.may_have_filter_state()) {
            options.shared = info.hash_shared_with_upstream();
            if config.told.state {
                options.told = ToldObjects(info.objects_shared_with_upstream());
            }
            if config.told.name {
                let name = info.filter_state(SERVER_NAME_STATE).and_then(|state| state.serialize());
                options.server_name = name.filter(|name| !name.is_empty()).map(Into::into);
            }
        }
        if let Some((asked, request)) = request.filter(|_| config.told.name)
            && let Some(auto) = &asked.http.auto_server_name
        {
            options.take_name(auto, request);
        }
        if config.told.client
            && let Some(head) = &config.transport_of(self.shared(), Some(&options)).proxy_head
        {
            options.proxy_head = client.map(|client| head.head(client).into());
        }
        if config.told.apart {
            options.client = client.map(|client| client.id);
        }
        (options != TransportOptions::default()).then(|| Rc::new(options))
    }
}

impl TransportOptions {
    /// What an internal listener is told of the stream that the connection is opened for.
    pub(super) fn objects(&self) -> SharedObjects {
        self.told.0.clone()
    }

    /// What the stream that the connection is opened for shares under this name.
    pub(super) fn object(&self, name: &str) -> Option<&Rc<dyn FilterState>> {
        self.told.0.iter().find(|(key, _)| **key == *name).map(|(_, object)| object)
    }

    fn take_name(&mut self, auto: &AutoServerName, request: &RequestHead) {
        let from_header = || {
            let value = request.headers.get(&*auto.header).filter(|_| !auto.header.is_empty())?;
            std::str::from_utf8(value).ok().filter(|name| !name.is_empty())
        };
        let of_host = || std::str::from_utf8(request.authority()).ok();
        let Some(name) = from_header().or_else(of_host).map(host_of) else { return };
        if name.is_empty() {
            return;
        }
        let name = name.to_ascii_lowercase();
        if auto.server_name && name.parse::<IpAddr>().is_err() {
            self.server_name = Some(name.as_str().into());
        }
        if auto.san {
            self.san = Some(name.into());
        }
    }
}

/// An authority without its port, and without the brackets of an IPv6 address.
fn host_of(authority: &str) -> &str {
    if let Some((inside, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside;
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_cut_to_its_host() {
        for (authority, host) in
            [("a.example", "a.example"), ("a.example:80", "a.example"), ("[::1]:80", "::1"), ("[::1]", "::1")]
        {
            assert_eq!(host_of(authority), host);
        }
    }
}
