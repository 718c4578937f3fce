//! Who the client is and what the next hop is told about it: `use_remote_address`, `xff_num_trusted_hops`,
//! `skip_xff_append`, `append_x_forwarded_port`, `internal_address_config`, `scheme_header_transformation`.

use super::local_reply::{LocalReply, ReplyBody, decimal};
use super::original_ip::{Detected, Detection, Found, from_xff, is_private};
use nuncio_codec::head::{HeaderMap, Known, RequestHead};
use nuncio_core::address::{Address, put_v4};
use nuncio_core::matcher::CidrList;
use nuncio_core::stream_info::{ConnectionInfo, StreamInfo};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Which clients are internal (`internal_address_config`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum InternalAddresses {
    /// The field is absent: none is.
    #[default]
    None,
    /// The field is there without ranges: the private networks and loopback.
    Private {
        /// `unix_sockets`: peers on Unix sockets too.
        unix_sockets: bool,
    },
    /// Those in the ranges.
    Ranges {
        /// `cidr_ranges`.
        ranges: CidrList,
        /// `unix_sockets`: peers on Unix sockets too.
        unix_sockets: bool,
    },
}

impl InternalAddresses {
    /// Whether `address` is internal.
    pub fn contains(&self, address: &Address) -> bool {
        match (self, address) {
            (Self::None, _) | (_, Address::Internal(_)) => false,
            (Self::Private { unix_sockets } | Self::Ranges { unix_sockets, .. }, Address::Pipe(_)) => {
                *unix_sockets
            }
            (Self::Private { .. }, Address::Ip(a)) => is_private(a.ip()),
            (Self::Ranges { ranges, .. }, Address::Ip(a)) => ranges.contains(a.ip()),
        }
    }
}

/// How the connection manager finds out who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// `use_remote_address`: the peer, or with trusted hops what the last of them says.
    Peer {
        /// `xff_num_trusted_hops`.
        hops: u32,
        /// `skip_xff_append`.
        skip_append: bool,
    },
    /// What the request says, by the first detection that finds an address.
    Detected(Box<[Detection]>),
}

/// What is found and written about clients, compiled.
#[derive(Clone, Debug)]
pub struct Forwarding {
    /// How the client is found.
    pub client: ClientAddress,
    /// Which clients are internal.
    pub internal: InternalAddresses,
    /// `append_x_forwarded_port`.
    pub append_port: bool,
    /// `scheme_header_transformation`.
    pub scheme: SchemeTransformation,
    /// `forward_proto_config`: what the destination port of a PROXY header says of the scheme.
    pub proto_by_port: ProtoByPort,
    /// What stands for the peer in X-Forwarded-For when the peer is this machine: its own first address that
    /// is not loopback.
    pub own_address: IpAddr,
}

/// A scheme that a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// Its spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn of(connection: &ConnectionInfo) -> Self {
        if connection.tls().is_some() { Self::Https } else { Self::Http }
    }

    /// What X-Forwarded-Proto says, if that is a scheme.
    fn said(headers: &HeaderMap) -> Option<Self> {
        let said = headers.get(Known::XForwardedProto)?;
        [Self::Http, Self::Https].into_iter().find(|s| said.eq_ignore_ascii_case(s.as_str().as_bytes()))
    }
}

/// `scheme_header_transformation`: what becomes of `:scheme`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchemeTransformation {
    /// `scheme_to_overwrite`: it is this one, and so is X-Forwarded-Proto.
    pub overwrite: Option<Scheme>,
    /// `match_upstream`: towards a host it is that of the connection there.
    pub match_upstream: bool,
}

/// `forward_proto_config`: ports whose traffic another proxy took off TLS, or never was on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtoByPort {
    /// `https_destination_ports`; they go before the others.
    pub https: Box<[u16]>,
    /// `http_destination_ports`.
    pub http: Box<[u16]>,
}

impl ProtoByPort {
    /// The scheme that a connection's traffic had. Ports count only where a listener filter restored the
    /// destination.
    fn of(&self, connection: &ConnectionInfo) -> Scheme {
        if (self.https.is_empty() && self.http.is_empty()) || connection.local == connection.direct_local {
            return Scheme::of(connection);
        }
        match connection.local.port() {
            Some(port) if self.https.contains(&port) => Scheme::Https,
            Some(port) if self.http.contains(&port) => Scheme::Http,
            _ => Scheme::of(connection),
        }
    }
}

/// What sanitising needs to know of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client is internal.
    pub internal: bool,
    /// The request enters the trusted network here.
    pub edge: bool,
}

impl Forwarding {
    /// Finds the client and writes X-Forwarded-For, -Proto, -Port and `:scheme`. `info` gets the trusted
    /// address and whether it is internal.
    ///
    /// # Errors
    /// A detection wants the request refused.
    #[inline]
    pub fn apply(&self, head: &mut RequestHead, info: &mut StreamInfo) -> Result<Client, LocalReply> {
        let use_remote_address = matches!(self.client, ClientAddress::Peer { .. });
        let found = match &self.client {
            ClientAddress::Peer { hops, skip_append } => {
                Some(self.peer(&mut head.headers, &info.connection, *hops, *skip_append))
            }
            ClientAddress::Detected(detections) => {
                self.detect(&mut head.headers, &info.connection, detections)?
            }
        };
        let keep = match self.client {
            ClientAddress::Peer { hops, .. } => hops > 0,
            ClientAddress::Detected(_) => true,
        };
        let proto = self.describe_connection(&mut head.headers, &info.connection, keep);
        self.set_scheme(&mut head.headers, &info.connection, proto);
        let (address, trusted) = match found {
            Some(ClientFound { address: Some(address), trusted }) => {
                info.remote = Some(Address::Ip(address));
                (info.remote_address(), trusted)
            }
            Some(ClientFound { address: None, trusted }) => (&info.connection.remote, trusted),
            None => (&info.connection.remote, false),
        };
        let internal = trusted && self.internal.contains(address);
        info.internal = internal;
        Ok(Client { internal, edge: !internal && use_remote_address })
    }

    /// `use_remote_address`: the peer is the client, unless proxies that are trusted say otherwise.
    #[inline]
    fn peer(
        &self,
        headers: &mut HeaderMap,
        connection: &ConnectionInfo,
        hops: u32,
        skip_append: bool,
    ) -> ClientFound {
        let trusted = !headers.contains(Known::XForwardedFor);
        let said = if hops > 0 { from_xff(headers, hops - 1) } else { None };
        if !skip_append {
            self.append_peer(headers, &connection.remote);
        }
        ClientFound { address: said.map(|found| found.address), trusted }
    }

    #[inline]
    fn detect(
        &self,
        headers: &mut HeaderMap,
        connection: &ConnectionInfo,
        detections: &[Detection],
    ) -> Result<Option<ClientFound>, LocalReply> {
        for detection in detections {
            let detected = detection.detect(headers, &connection.remote);
            if detection.appends(&connection.remote) {
                self.append_peer(headers, &connection.remote);
            }
            match detected {
                Detected::Address(Found { address, trusted }) => {
                    return Ok(Some(ClientFound { address: Some(address), trusted }));
                }
                Detected::Nothing => {}
                Detected::Reject(status) => {
                    return Err(LocalReply::ip_detection_failed(status, ReplyBody::EMPTY));
                }
            }
        }
        Ok(None)
    }

    /// Appends the peer to X-Forwarded-For, without a blank behind the comma. A peer on a Unix socket has no
    /// address to append.
    fn append_peer(&self, headers: &mut HeaderMap, peer: &Address) {
        let Some(ip) = peer.ip() else { return };
        let ip = match ip {
            IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST) => self.own_address,
            ip => ip,
        };
        let text = IpLine::new(b"x-forwarded-for", ip);
        if headers.contains(Known::XForwardedFor) {
            headers.append_joined(Known::XForwardedFor, b",", text.value());
        } else {
            headers.append_line(Known::XForwardedFor, text.line());
        }
    }

    /// X-Forwarded-Proto and -Port as the connection has them; what is there already stays where `keep` says so.
    /// The answer is the proto that was written.
    #[inline]
    fn describe_connection(
        &self,
        headers: &mut HeaderMap,
        connection: &ConnectionInfo,
        keep: bool,
    ) -> Option<Scheme> {
        let there = headers.contains(Known::XForwardedProto);
        let proto = (!(keep && there)).then(|| self.proto_by_port.of(connection));
        match proto {
            Some(scheme) if there => headers.set(Known::XForwardedProto, scheme.as_str().as_bytes()),
            Some(Scheme::Http) => headers.append_line(Known::XForwardedProto, b"x-forwarded-proto: http\r\n"),
            Some(Scheme::Https) => {
                headers.append_line(Known::XForwardedProto, b"x-forwarded-proto: https\r\n")
            }
            None => {}
        }
        if self.append_port
            && !(keep && headers.contains(Known::XForwardedPort))
            && let Some(port) = connection.local.port()
        {
            headers.set(Known::XForwardedPort, decimal(u64::from(port), &mut [0; 20]));
        }
        proto
    }

    /// `:scheme`: what is configured, else what the request says, else X-Forwarded-Proto if that is a scheme,
    /// else the connection's. In lower case.
    #[inline]
    fn set_scheme(&self, headers: &mut HeaderMap, connection: &ConnectionInfo, proto: Option<Scheme>) {
        if let Some(scheme) = self.scheme.overwrite {
            headers.set(Known::Scheme, scheme.as_str().as_bytes());
            headers.set(Known::XForwardedProto, scheme.as_str().as_bytes());
            return;
        }
        let Some(scheme) = headers.get(Known::Scheme) else {
            let scheme = proto.or_else(|| Scheme::said(headers)).unwrap_or_else(|| Scheme::of(connection));
            return headers.append(Known::Scheme, scheme.as_str().as_bytes());
        };
        if scheme.iter().any(u8::is_ascii_uppercase) {
            let lower = scheme.to_ascii_lowercase();
            headers.set(Known::Scheme, &lower);
        }
    }
}

/// The client: its address where it is not the peer's, and whether it may count as internal.
#[derive(Clone, Copy, Debug)]
struct ClientFound {
    address: Option<SocketAddr>,
    trusted: bool,
}

/// The text of an IP address, made without an allocation, as the value of a header line.
pub(super) struct IpLine {
    line: [u8; 80],
    value_at: usize,
    end: usize,
}

impl IpLine {
    /// The address behind `name` and a colon. A name longer than 30 bytes is left out.
    #[inline]
    pub(super) fn new(name: &[u8], ip: IpAddr) -> Self {
        let mut line = [0; 80];
        let mut at = 0;
        for part in [name, b": "] {
            if name.len() <= 30
                && let Some(place) = line.get_mut(at..at + part.len())
            {
                place.copy_from_slice(part);
                at += part.len();
            }
        }
        let value_at = at;
        let end = match ip {
            IpAddr::V4(v4) => put_v4(v4, &mut line, at),
            IpAddr::V6(v6) => {
                // The longest text of an IPv6 address has 45 bytes.
                let mut rest = line.get_mut(at..).unwrap_or_default();
                let room = rest.len();
                let written = write!(rest, "{v6}");
                if written.is_ok() { at + room - rest.len() } else { at }
            }
        };
        if let Some(place) = line.get_mut(end..end + 2) {
            place.copy_from_slice(b"\r\n");
        }
        Self { line, value_at, end }
    }

    /// The address.
    pub(super) fn value(&self) -> &[u8] {
        self.line.get(self.value_at..self.end).unwrap_or_default()
    }

    /// The whole line.
    pub(super) fn line(&self) -> &[u8] {
        self.line.get(..self.end + 2).unwrap_or_default()
    }

    /// Leaves `value` as the one value of `known`, whose name the line begins with.
    #[inline]
    pub(super) fn set_in(&self, headers: &mut HeaderMap, known: Known) {
        if headers.contains(known) {
            headers.set(known, self.value());
        } else {
            headers.append_line(known, self.line());
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
