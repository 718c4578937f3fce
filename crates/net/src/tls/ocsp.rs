//! OCSP responses (RFC 6960) that a server staples to its certificate.

use super::certificate::time;
use super::der::{Reader, tag};
use std::time::SystemTime;

/// A response about one certificate.
#[derive(Debug)]
pub(super) struct Ocsp {
    /// The response, whole.
    pub(super) der: Vec<u8>,
    /// The certificate's serial number, as its DER has it.
    pub(super) serial: Vec<u8>,
    pub(super) times: OcspTimes,
}

/// From when and until when an OCSP response holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OcspTimes {
    /// `thisUpdate`
    pub from: SystemTime,
    /// `nextUpdate`; a response without one is outdated at once, as in Envoy.
    pub until: Option<SystemTime>,
}

impl OcspTimes {
    /// Seconds since 1970 until which it holds.
    pub(super) fn holds_until(&self) -> u64 {
        let since = self.until.and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok());
        since.map_or(0, |d| d.as_secs())
    }
}

/// `id-pkix-ocsp-basic`, 1.3.6.1.5.5.7.48.1.1
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

impl Ocsp {
    /// Reads a response.
    ///
    /// # Errors
    /// What is wrong with it, in Envoy's words where it has some.
    pub(super) fn parse(der: &[u8]) -> Result<Self, &'static str> {
        const MALFORMED: &str = "OCSP response is not a well-formed DER message";
        let mut outer = Reader(der).expect(tag::SEQUENCE).ok_or(MALFORMED)?.inside();
        let status = outer.expect(tag::ENUMERATED).ok_or(MALFORMED)?;
        if status.content != [0] {
            return Err("OCSP response was unsuccessful");
        }
        let bytes = outer.expect(tag::context(0, true)).ok_or("OCSP response has no body")?;
        let mut bytes = bytes.inside().expect(tag::SEQUENCE).ok_or(MALFORMED)?.inside();
        if bytes.expect(tag::OID).ok_or(MALFORMED)?.content != BASIC {
            return Err("Unknown OCSP Response type");
        }
        let basic = bytes.expect(tag::OCTET_STRING).ok_or(MALFORMED)?;
        Self::single(basic.content).ok_or(MALFORMED)?.map(|(serial, times)| Self {
            der: der.to_vec(),
            serial,
            times,
        })
    }

    /// The only certificate that a `BasicOCSPResponse` speaks of.
    #[allow(clippy::type_complexity, reason = "read by its one caller")]
    fn single(basic: &[u8]) -> Option<Result<(Vec<u8>, OcspTimes), &'static str>> {
        let mut data = Reader(basic).expect(tag::SEQUENCE)?.inside().expect(tag::SEQUENCE)?.inside();
        data.optional(tag::context(0, true));
        let _responder = data.next()?;
        data.expect(tag::GENERALIZED_TIME)?;
        let mut responses = data.expect(tag::SEQUENCE)?.inside();
        let mut response = responses.expect(tag::SEQUENCE)?.inside();
        if responses.next().is_some() {
            return Some(Err("OCSP Response must be for one certificate only"));
        }
        let mut id = response.expect(tag::SEQUENCE)?.inside();
        id.expect(tag::SEQUENCE)?;
        id.expect(tag::OCTET_STRING)?;
        id.expect(tag::OCTET_STRING)?;
        let serial = id.expect(tag::INTEGER)?.content.to_vec();
        let _status = response.next()?;
        let from = time(response.expect(tag::GENERALIZED_TIME)?)?;
        let until = match response.optional(tag::context(0, true)) {
            Some(next) => Some(time(next.inside().expect(tag::GENERALIZED_TIME)?)?),
            None => None,
        };
        Some(Ok((serial, OcspTimes { from, until })))
    }
}
