//! The last headers of every response, local replies included: what belongs to the upstream's hop goes, and
//! `date`, `server`, `x-request-id` and `via` come, in this order.

use super::sanitize::is_upgrade;
use nuncio_codec::head::{HeaderMap, Known, KnownSet, RequestHead, ResponseHead};

/// `server_header_transformation`: what becomes of the upstream's `server`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerHeader {
    /// The proxy's name takes its place.
    #[default]
    Overwrite,
    /// The proxy's name stands where there is none.
    AppendIfAbsent,
    /// It is left alone; an answer without one stays without one.
    PassThrough,
}

/// What is written into responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHeaders {
    /// `server_name` as the line `server: NAME CR LF`.
    server_line: Box<[u8]>,
    /// `server_header_transformation`.
    server: ServerHeader,
    /// `via`, empty for none.
    pub via: Box<str>,
    /// `always_set_request_id_in_response`.
    pub request_id: bool,
}

/// Where the value begins in `server_line`.
const SERVER_NAME_AT: usize = "server: ".len();

const HOP: KnownSet = KnownSet::of(&[Known::TransferEncoding, Known::KeepAlive, Known::ProxyConnection]);
const UPGRADE: KnownSet = KnownSet::of(&[Known::Connection, Known::Upgrade]);

impl ResponseHeaders {
    /// The headers of a proxy with this name.
    pub fn new(server_name: &str, server: ServerHeader, via: &str, request_id: bool) -> Self {
        let server_line = format!("server: {server_name}\r\n").into_bytes().into();
        Self { server_line, server, via: via.into(), request_id }
    }

    fn server_name(&self) -> &[u8] {
        self.server_line.get(SERVER_NAME_AT..self.server_line.len() - 2).unwrap_or_default()
    }

    /// Gives `response` its last headers. `date` is the text of the present moment (RFC 9110 section 5.6.7).
    ///
    /// The codec writes `connection: close` where the connection ends, so that `connection` goes here even from
    /// local replies.
    #[inline]
    pub fn apply(&self, response: &mut ResponseHead, request: &RequestHead, date: &[u8]) {
        let headers = &mut response.headers;
        // A status below 200 other than 101 is a local reply's; it gets neither.
        let interim = matches!(response.status, 100 | 102..=199);
        if !interim {
            if !headers.contains(Known::Date) {
                append_date(headers, date);
            }
            self.set_server(response);
        }
        self.apply_to_interim(response, request);
        if !self.via.is_empty() {
            response.headers.append_joined(Known::Via, b", ", self.via.as_bytes());
        }
    }

    /// What a 1xx gets too: no headers of its hop, and the request's identifier where responses carry it.
    #[inline]
    pub fn apply_to_interim(&self, response: &mut ResponseHead, request: &RequestHead) {
        let headers = &mut response.headers;
        if headers.contains_any(UPGRADE) || headers.contains_any(HOP) {
            self.drop_hop(response, request);
        }
        if (self.request_id || request.headers.contains(Known::XEnvoyForceTrace))
            && let Some(id) = request.headers.get(Known::XRequestId)
        {
            response.headers.set(Known::XRequestId, id);
        }
    }

    #[inline]
    fn set_server(&self, response: &mut ResponseHead) {
        let headers = &mut response.headers;
        match (self.server, headers.contains(Known::Server)) {
            (ServerHeader::PassThrough, _) | (ServerHeader::AppendIfAbsent, true) => {}
            (ServerHeader::Overwrite, true) => headers.set(Known::Server, self.server_name()),
            (ServerHeader::Overwrite | ServerHeader::AppendIfAbsent, false) => {
                headers.append_line(Known::Server, &self.server_line);
            }
        }
    }

    /// An upgrade that was asked for and granted keeps the headers that say so.
    fn drop_hop(&self, response: &mut ResponseHead, request: &RequestHead) {
        let headers = &mut response.headers;
        let upgraded =
            headers.contains(Known::Upgrade) && is_upgrade(headers) && is_upgrade(&request.headers);
        if upgraded {
            let framed = headers.contains(Known::TransferEncoding) || headers.contains(Known::ContentLength);
            if !framed && !matches!(response.status, 100..=199) {
                headers.append(Known::ContentLength, b"0");
            }
        } else {
            headers.remove_known(UPGRADE);
        }
        headers.remove_known(HOP);
    }
}

/// Appends `date`, in one copy where it has the length that dates have.
#[inline]
fn append_date(headers: &mut HeaderMap, date: &[u8]) {
    let mut line = *b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    match line.get_mut(6..35) {
        Some(place) if place.len() == date.len() => {
            place.copy_from_slice(date);
            headers.append_line(Known::Date, &line);
        }
        _ => headers.append(Known::Date, date),
    }
}

#[cfg(test)]
mod tests;
