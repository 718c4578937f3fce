//! Heads and trailers: from decoded fields to header maps, under the rules of RFC 9113 section 8.

use super::error::MessageError;
use super::hpack::{Facts, Field};
use super::options::Options;
use crate::h1::UnderscoreAction;
use crate::head::{HeaderMap, Known, KnownSet, REQUEST_JOINED, RESPONSE_JOINED, TRAILERS_JOINED};
use crate::scan;

/// Which part of which message a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Request,
    Response,
    Trailers,
}

/// Fields that speak of an HTTP/1 connection (RFC 9113 section 8.2.2).
const CONNECTION_SPECIFIC: KnownSet = KnownSet::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::TransferEncoding,
    Known::Upgrade,
]);

/// Counters of what was done to fields.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dropped {
    pub(super) underscores: u32,
}

/// Takes the fields of one block. The map holds what was good; the verdict is asked at the end, because the
/// block has to be decoded to its end whatever is in it.
pub(super) struct Builder<'a> {
    part: Part,
    options: &'a Options,
    map: &'a mut HeaderMap,
    cookies: &'a mut Vec<u8>,
    error: Option<MessageError>,
    bytes: usize,
    fields: u32,
    status: u16,
    regular: bool,
    length: Option<u64>,
    dropped: Dropped,
}

/// What a good block says beside its fields.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Built {
    pub(super) status: u16,
    pub(super) length: Option<u64>,
}

impl<'a> Builder<'a> {
    /// Empties the map.
    pub(super) fn new(
        part: Part,
        options: &'a Options,
        map: &'a mut HeaderMap,
        cookies: &'a mut Vec<u8>,
    ) -> Self {
        map.clear();
        cookies.clear();
        Self {
            part,
            options,
            map,
            cookies,
            error: None,
            bytes: 0,
            fields: 0,
            status: 0,
            regular: false,
            length: None,
            dropped: Dropped::default(),
        }
    }

    /// Bytes of the names and values so far, up to the first that is at fault.
    pub(super) fn text(&self) -> usize {
        self.bytes
    }

    /// Takes a field.
    #[inline]
    pub(super) fn take(&mut self, field: Field<'_>) {
        if self.error.is_none() {
            let before = self.bytes;
            if let Err(error) = self.try_take(field) {
                self.error = Some(error);
                self.bytes = before;
            }
        }
    }

    #[inline]
    fn try_take(&mut self, field: Field<'_>) -> Result<(), MessageError> {
        let Field { known, facts, .. } = field;
        if !facts.has(Facts::NAME) {
            return Err(MessageError::Field);
        }
        if !facts.has(Facts::VALUE) && !facts.has(Facts::PADDED) {
            return Err(MessageError::Field);
        }
        let len = field.text_len();
        self.bytes += len;
        self.fields += 1;
        let pseudo = known.is_pseudo() || facts.has(Facts::STATUS);
        if pseudo {
            self.pseudo(&field)?;
        } else {
            self.regular = true;
            if CONNECTION_SPECIFIC.contains(known) {
                return Err(MessageError::Field);
            }
        }
        if self.fields > self.options.limits.max_headers {
            return Err(MessageError::TooManyHeaders);
        }
        if self.bytes > self.options.limits.max_head_bytes as usize
            || len > self.options.max_field_bytes as usize
            || field.name_len > usize::from(u16::MAX)
        {
            return Err(MessageError::HeadersTooLarge);
        }
        if pseudo {
            return Ok(());
        }
        if facts.has(Facts::UNDERSCORE) && self.part != Part::Response {
            match self.options.underscores {
                UnderscoreAction::Allow => {}
                UnderscoreAction::RejectRequest => return Err(MessageError::Underscore),
                UnderscoreAction::DropHeader => {
                    self.dropped.underscores += 1;
                    return Ok(());
                }
            }
        }
        match known {
            Known::Cookie if self.part == Part::Request => {
                // RFC 9113 section 8.2.3: crumbs are one cookie to everybody else.
                if !self.cookies.is_empty() {
                    self.cookies.extend_from_slice(b"; ");
                }
                self.cookies.extend_from_slice(field.value());
                return Ok(());
            }
            Known::ContentLength => self.content_length(field.value())?,
            Known::Te if !field.value().eq_ignore_ascii_case(b"trailers") => return Err(MessageError::Field),
            Known::Host if self.part == Part::Request && !scan::is_host(field.value()) => {
                return Err(MessageError::Field);
            }
            _ => {}
        }
        if known != Known::Other && self.map.contains(known) && self.joins(known) {
            let value = scan::trim(field.value());
            if !value.is_empty() {
                self.map.append_joined(known, b",", value);
            }
            return Ok(());
        }
        if facts.has(Facts::PADDED) {
            // As in Envoy, for which RFC 9113 section 8.2.1 says too much.
            self.map.append_any_case(field.name(), field.value());
        } else {
            self.map.append_clean_line(known, field.name_len, field.line);
        }
        Ok(())
    }

    /// Whether what is repeated of a name is joined onto the first.
    #[cold]
    fn joins(&self, known: Known) -> bool {
        let joined = match self.part {
            Part::Request => REQUEST_JOINED,
            Part::Response => RESPONSE_JOINED,
            Part::Trailers => TRAILERS_JOINED,
        };
        joined.contains(known)
    }

    fn pseudo(&mut self, field: &Field<'_>) -> Result<(), MessageError> {
        let value = field.value();
        let allowed = match self.part {
            Part::Request => field.known != Known::Other,
            Part::Response => field.known == Known::Other,
            Part::Trailers => false,
        };
        if !allowed || self.regular || value.is_empty() || field.facts.has(Facts::PADDED) {
            return Err(MessageError::Field);
        }
        if field.known == Known::Other {
            let &[a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = value else {
                return Err(MessageError::Field);
            };
            // RFC 9113 section 8.6: there is no 101 here.
            if self.status != 0 || value == b"101" {
                return Err(MessageError::Field);
            }
            self.status = [a, b, c].iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
            return Ok(());
        }
        if self.map.contains(field.known) {
            return Err(MessageError::Field);
        }
        let good = match field.known {
            Known::Method => scan::is_name(value),
            Known::Authority => scan::is_host(value),
            Known::Scheme => is_scheme(value),
            Known::Path => scan::graphic_end(value) == value.len(),
            _ if !self.options.allow_connect => return Err(MessageError::ConnectProtocol),
            _ => scan::is_name(value),
        };
        if !good {
            return Err(MessageError::Field);
        }
        if field.known == Known::Authority {
            self.map.append_clean_line(field.known, field.name_len, field.line);
        } else {
            self.map.append(field.known, value);
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), MessageError> {
        if self.part == Part::Trailers {
            return Err(MessageError::Field);
        }
        let digits = !value.is_empty() && value.len() <= 20 && value.iter().all(u8::is_ascii_digit);
        let length = digits
            .then(|| value.iter().try_fold(0_u64, |n, d| n.checked_mul(10)?.checked_add(u64::from(d - b'0'))))
            .flatten();
        if length.is_none() || self.length.is_some() {
            return Err(MessageError::Field);
        }
        self.length = length;
        Ok(())
    }

    /// Responses without a body have no length, but for a superfluous 0 of a 204 (RFC 9110 section 8.6).
    fn check_length(&mut self) -> Result<(), MessageError> {
        match (self.status, self.length) {
            (204, Some(0)) => {
                self.map.remove(Known::ContentLength);
                Ok(())
            }
            (100..=199 | 204, Some(_)) => Err(MessageError::Field),
            _ => Ok(()),
        }
    }

    /// What was dropped.
    pub(super) fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// The end of the block.
    pub(super) fn finish(mut self) -> Result<Built, MessageError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if !self.cookies.is_empty() {
            self.map.append(Known::Cookie, self.cookies);
        }
        match self.part {
            Part::Request => request(self.map)?,
            Part::Response if self.status == 0 => return Err(MessageError::Messaging),
            Part::Response => self.check_length()?,
            Part::Trailers => {}
        }
        Ok(Built { status: self.status, length: self.length })
    }
}

/// What a request must have (RFC 9113 section 8.3.1, RFC 8441 section 4). A Host beside `:authority` goes, and
/// stands for it where there is none.
fn request(map: &mut HeaderMap) -> Result<(), MessageError> {
    if map.contains(Known::Host) {
        if !map.contains(Known::Authority) {
            let host = map.get(Known::Host).unwrap_or_default().to_vec();
            map.append(Known::Authority, &host);
        }
        map.remove(Known::Host);
    }
    let has = |known| map.contains(known);
    let connect = map.get(Known::Method) == Some(b"CONNECT");
    let good = if connect && !has(Known::Protocol) {
        has(Known::Authority) && !has(Known::Scheme) && !has(Known::Path)
    } else {
        has(Known::Method)
            && has(Known::Scheme)
            && has(Known::Path)
            && has(Known::Authority)
            && (connect || !has(Known::Protocol))
            && good_path(map)
    };
    if good { Ok(()) } else { Err(MessageError::Messaging) }
}

/// Paths of HTTP begin with a slash, but for `OPTIONS *`.
fn good_path(map: &HeaderMap) -> bool {
    let path = map.get(Known::Path).unwrap_or_default();
    let http = map
        .get(Known::Scheme)
        .is_some_and(|s| s.eq_ignore_ascii_case(b"http") || s.eq_ignore_ascii_case(b"https"));
    !http || path.first() == Some(&b'/') || (path == b"*" && map.get(Known::Method) == Some(b"OPTIONS"))
}

/// RFC 3986 section 3.1.
fn is_scheme(value: &[u8]) -> bool {
    value.first().is_some_and(u8::is_ascii_alphabetic)
        && value.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}
