//! The `date` header (RFC 9110 section 5.6.7), made once per second.

use nuncio_core::civil::{Civil, two};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpDate([u8; 29]);

impl HttpDate {
    /// The text of `wall`, to the second; years 1970 to 9999.
    pub fn new(wall: SystemTime) -> Self {
        Self::of_seconds(wall.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn of_seconds(secs: u64) -> Self {
        let at = Civil::of(UNIX_EPOCH + Duration::from_secs(secs));
        let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = text.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        let century = u32::try_from(at.year / 100).unwrap_or_default();
        put(0, at.weekday_name().as_bytes().get(..3).unwrap_or_default());
        put(5, &two(at.day));
        put(8, at.month_name().as_bytes().get(..3).unwrap_or_default());
        put(12, &two(century));
        put(14, &two(u32::try_from(at.year % 100).unwrap_or_default()));
        put(17, &two(at.hour));
        put(20, &two(at.minute));
        put(23, &two(at.second));
        Self(text)
    }
}

/// The last date made.
#[derive(Default)]
pub(super) struct DateCache(Option<(u64, HttpDate)>);

impl DateCache {
    pub(super) fn at(&mut self, wall: SystemTime) -> HttpDate {
        let secs = wall.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        match self.0 {
            Some((at, date)) if at == secs => date,
            _ => {
                let date = HttpDate::of_seconds(secs);
                self.0 = Some((secs, date));
                date
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_rfc_9110() {
        for (secs, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            let date = HttpDate::new(UNIX_EPOCH + Duration::from_secs(secs));
            assert_eq!(std::str::from_utf8(date.as_bytes()).unwrap(), text);
        }
    }
}
