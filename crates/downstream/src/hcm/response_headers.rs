//! The last headers of every response, local replies included: what belongs to the upstream's hop goes, and
//! `date`, `server`, `x-request-id` and `via` come, in this order.

use super::sanitize::is_upgrade;
use nuncio_codec::head::{Known, KnownSet, RequestHead, ResponseHead};

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
    /// `server_name`.
    pub server_name: Box<str>,
    /// `server_header_transformation`.
    pub server: ServerHeader,
    /// `via`, empty for none.
    pub via: Box<str>,
    /// `always_set_request_id_in_response`.
    pub request_id: bool,
}

const HOP: KnownSet = KnownSet::of(&[Known::TransferEncoding, Known::KeepAlive, Known::ProxyConnection]);
const UPGRADE: KnownSet = KnownSet::of(&[Known::Connection, Known::Upgrade]);

impl ResponseHeaders {
    /// Gives `response` its last headers. `date` is the text of the present moment (RFC 9110 section 5.6.7).
    ///
    /// The codec writes `connection: close` where the connection ends, so that `connection` goes here even from
    /// local replies. An interim response (1xx other than 101) gets neither `date` nor `server`.
    #[inline]
    pub fn apply(&self, response: &mut ResponseHead, request: &RequestHead, date: &[u8]) {
        let headers = &mut response.headers;
        let interim = matches!(response.status, 100 | 102..=199);
        if !interim {
            if !headers.contains(Known::Date) {
                headers.append(Known::Date, date);
            }
            self.set_server(response);
        }
        let headers = &mut response.headers;
        if headers.contains_any(UPGRADE) || headers.contains_any(HOP) {
            self.drop_hop(response, request);
        }
        let headers = &mut response.headers;
        if (self.request_id || request.headers.contains(Known::XEnvoyForceTrace))
            && let Some(id) = request.headers.get(Known::XRequestId)
        {
            headers.set(Known::XRequestId, id);
        }
        if !self.via.is_empty() {
            headers.append_joined(Known::Via, b", ", self.via.as_bytes());
        }
    }

    #[inline]
    fn set_server(&self, response: &mut ResponseHead) {
        let headers = &mut response.headers;
        match self.server {
            ServerHeader::Overwrite => headers.set(Known::Server, self.server_name.as_bytes()),
            ServerHeader::AppendIfAbsent if !headers.contains(Known::Server) => {
                headers.append(Known::Server, self.server_name.as_bytes());
            }
            ServerHeader::AppendIfAbsent | ServerHeader::PassThrough => {}
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

#[cfg(test)]
mod tests;
