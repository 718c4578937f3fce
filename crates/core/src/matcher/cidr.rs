//! Lists of address ranges.

use crate::config::CompileContext;
use nuncio_proto::pb::envoy::config::core::v3::CidrRange;
use nuncio_proto::pb::envoy::r#type::matcher::v3 as pb;
use nuncio_proto::pb::xds::core::v3 as xds;
use std::net::IpAddr;

/// Address ranges (`envoy.config.core.v3.CidrRange`). An IPv4 range holds no IPv6 address, nor the reverse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrList(Box<[Range]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    network: IpAddr,
    len: u8,
}

/// The first `len` bits of an address.
fn masked(ip: IpAddr, len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & !u32::MAX.checked_shr(len.into()).unwrap_or(0)).into()),
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::MAX.checked_shr(len.into()).unwrap_or(0)).into()),
    }
}

impl CidrList {
    /// The messages, compiled; `field` is the list's name in `cx`. Without a length a range holds every
    /// address, as in Envoy.
    pub fn compile(ranges: &[CidrRange], cx: &CompileContext<'_>, field: &str) -> Option<Self> {
        let range = |(i, range): (usize, &CidrRange)| {
            let CidrRange { address_prefix, prefix_len } = range;
            let cx = cx.item(field, i);
            let ip: Option<IpAddr> = address_prefix.parse().ok();
            let max = if ip.is_some_and(|ip| ip.is_ipv4()) { 32 } else { 128 };
            let len = prefix_len.unwrap_or(0);
            match ip {
                // As in Envoy, a length beyond the address's own is that one.
                Some(ip) => {
                    let len = u8::try_from(len).map_or(max, |len| len.min(max));
                    Some(Range { network: masked(ip, len), len })
                }
                None => {
                    cx.error(format!(
                        "invalid ip/mask combo '{address_prefix}/{len}' (format is <ip>/<# mask bits>)"
                    ));
                    None
                }
            }
        };
        Some(Self(ranges.iter().enumerate().map(range).collect::<Option<_>>()?))
    }

    /// The same of the messages that matchers have (`xds.core.v3.CidrRange`).
    pub fn compile_xds(ranges: Vec<xds::CidrRange>, cx: &CompileContext<'_>, field: &str) -> Option<Self> {
        let of = |xds::CidrRange { address_prefix, prefix_len }| CidrRange { address_prefix, prefix_len };
        let ranges: Vec<_> = ranges.into_iter().map(of).collect();
        Self::compile(&ranges, cx, field)
    }

    /// Whether a range holds `ip`.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|r| masked(ip, r.len) == r.network)
    }

    /// The length of the longest range that holds `ip`.
    pub fn longest(&self, ip: IpAddr) -> Option<u8> {
        self.0.iter().filter(|r| masked(ip, r.len) == r.network).map(|r| r.len).max()
    }

    /// Whether both have the same range, or neither has any.
    pub fn shares(&self, other: &Self) -> bool {
        self.0.is_empty() && other.0.is_empty() || self.0.iter().any(|range| other.0.contains(range))
    }

    /// Whether there is no range.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An `AddressMatcher`: the addresses of some ranges, or all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressMatcher {
    ranges: CidrList,
    inverted: bool,
}

impl AddressMatcher {
    /// Compiles the message. `None`: refused, and the reasons are recorded in `cx`.
    pub fn compile(message: pb::AddressMatcher, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::AddressMatcher { ranges, invert_match } = message;
        Some(Self { ranges: CidrList::compile_xds(ranges, cx, "ranges")?, inverted: invert_match })
    }

    /// Whether it matches.
    pub fn matches(&self, ip: IpAddr) -> bool {
        self.ranges.contains(ip) != self.inverted
    }
}
