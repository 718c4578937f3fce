//! Commands that write addresses of the connections of a stream.

use super::FormatContext;
use super::command::{Op, write_number};
use crate::address::Address;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whose address.
#[derive(Clone, Copy, Debug)]
pub(super) enum AddressOf {
    DownstreamLocal,
    DownstreamDirectLocal,
    DownstreamRemote,
    DownstreamDirectRemote,
    UpstreamLocal,
    /// The upstream connection's peer: the host, once connected.
    UpstreamRemote,
}

/// What of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum AddressForm {
    Whole,
    Ip(Mask),
    Port,
    /// Empty where the address is not that of an internal listener.
    EndpointId,
}

/// How many leading bits of an IP address are shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mask {
    None,
    /// The network in CIDR form; at most all of the address's bits.
    Bits(u32),
    /// Envoy prints nothing for a negative length.
    Nothing,
}

/// The command called `name`, without an argument.
pub(super) fn find(name: &str) -> Option<Op> {
    let (of, rest) = owner(name)?;
    let form = match rest {
        "ADDRESS" => AddressForm::Whole,
        "ADDRESS_WITHOUT_PORT" => AddressForm::Ip(Mask::None),
        "PORT" => AddressForm::Port,
        "ADDRESS_ENDPOINT_ID" if has_endpoint_id(of) => AddressForm::EndpointId,
        _ => return None,
    };
    Some(Op::Address(of, form))
}

/// The command called `name` where it takes an argument: a mask's length. One that is no number is as good as none.
pub(super) fn find_masked(name: &str, length: &str) -> Option<Op> {
    let (of, "ADDRESS_WITHOUT_PORT") = owner(name)? else { return None };
    let mask = match length.trim_ascii().parse::<i32>() {
        Err(_) => Mask::None,
        Ok(n) => u32::try_from(n).map_or(Mask::Nothing, Mask::Bits),
    };
    Some(Op::Address(of, AddressForm::Ip(mask)))
}

fn owner(name: &str) -> Option<(AddressOf, &str)> {
    let (of, rest) = match name.split_once('_')? {
        ("DOWNSTREAM", rest) => match rest.strip_prefix("DIRECT_") {
            Some(direct) => match direct.split_once('_')? {
                ("LOCAL", rest) => (AddressOf::DownstreamDirectLocal, rest),
                ("REMOTE", rest) => (AddressOf::DownstreamDirectRemote, rest),
                _ => return None,
            },
            None => match rest.split_once('_')? {
                ("LOCAL", rest) => (AddressOf::DownstreamLocal, rest),
                ("REMOTE", rest) => (AddressOf::DownstreamRemote, rest),
                _ => return None,
            },
        },
        ("UPSTREAM", rest) => match rest.split_once('_')? {
            ("LOCAL", rest) => (AddressOf::UpstreamLocal, rest),
            ("REMOTE", rest) => (AddressOf::UpstreamRemote, rest),
            _ => return None,
        },
        _ => return None,
    };
    Some((of, rest))
}

fn has_endpoint_id(of: AddressOf) -> bool {
    matches!(of, AddressOf::DownstreamLocal | AddressOf::DownstreamDirectLocal | AddressOf::UpstreamRemote)
}

#[inline]
fn address<'a>(cx: &FormatContext<'a>, of: AddressOf) -> Option<&'a Address> {
    let connection = &cx.info.connection;
    match of {
        AddressOf::DownstreamLocal => Some(&connection.local),
        AddressOf::DownstreamDirectLocal => Some(&connection.direct_local),
        AddressOf::DownstreamRemote => Some(cx.info.remote_address()),
        AddressOf::DownstreamDirectRemote => Some(&connection.direct_remote),
        AddressOf::UpstreamLocal => {
            let local = &cx.info.upstream.connection.as_ref()?.local;
            // A Unix socket that connects has none.
            Some(local).filter(|local| !matches!(local, Address::Pipe(path) if path.is_empty()))
        }
        AddressOf::UpstreamRemote => Some(&cx.info.upstream.connection.as_ref()?.peer),
    }
}

/// Appends the value; `false` where there is no such address.
pub(super) fn write(cx: &FormatContext<'_>, of: AddressOf, form: AddressForm, out: &mut Vec<u8>) -> bool {
    let Some(address) = address(cx, of) else { return false };
    match form {
        AddressForm::Whole => address.write_to(out),
        AddressForm::Ip(Mask::None) => address.write_ip_to(out),
        AddressForm::Ip(Mask::Bits(bits)) => write_network(address, bits, out),
        AddressForm::Ip(Mask::Nothing) => {}
        AddressForm::EndpointId => {
            if let Address::Internal(internal) = address {
                out.extend_from_slice(internal.endpoint.as_bytes());
            }
        }
        AddressForm::Port => match address.port() {
            Some(port) => write_number(u64::from(port), out),
            // As in Envoy, empty where there is no socket, and nothing where it has no port.
            None => return matches!(address, Address::Internal(_)),
        },
    }
    true
}

/// The network around an address by the length of its prefix, which is cut to the address's own.
pub fn mask_ip(ip: IpAddr, bits: u32) -> (IpAddr, u32) {
    match ip {
        IpAddr::V4(ip) => {
            let bits = bits.min(32);
            let kept = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            (IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & kept)), bits)
        }
        IpAddr::V6(ip) => {
            let bits = bits.min(128);
            let kept = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            (IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & kept)), bits)
        }
    }
}

/// `10.1.0.0/16`; a pipe has no network.
fn write_network(address: &Address, bits: u32, out: &mut Vec<u8>) {
    let Some(ip) = address.ip() else { return address.write_ip_to(out) };
    let (ip, bits) = mask_ip(ip, bits);
    Address::Ip((ip, 0).into()).write_ip_to(out);
    out.push(b'/');
    write_number(u64::from(bits), out);
}
