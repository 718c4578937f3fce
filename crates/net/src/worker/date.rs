//! The `date` header (RFC 9110 section 5.6.7), made once per second.

use nuncio_core::civil::{Civil, two};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
pub(super) struct DateCache {
    last: Option<(u64, HttpDate)>,
    /// What holds now, and until when.
    present: Option<(Instant, HttpDate)>,
}

impl DateCache {
    #[inline]
    pub(super) fn now(&mut self, now: Instant, wall: impl FnOnce() -> SystemTime) -> HttpDate {
        match self.present {
            Some((until, date)) if now < until => date,
            _ => self.next(now, wall()),
        }
    }

    #[cold]
    fn next(&mut self, now: Instant, wall: SystemTime) -> HttpDate {
        let date = self.at(wall);
        let past = wall.duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
        let left = Duration::from_secs(1).saturating_sub(Duration::from_nanos(past.into()));
        self.present = now.checked_add(left).map(|until| (until, date));
        date
    }

    pub(super) fn at(&mut self, wall: SystemTime) -> HttpDate {
        let secs = wall.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        match self.last {
            Some((at, date)) if at == secs => date,
            _ => {
                let date = HttpDate::of_seconds(secs);
                self.last = Some((secs, date));
                date
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuncio_core::clock::Clock;

    #[test]
    fn the_present_date_changes_with_the_second() {
        let clock = Clock::virtual_at(UNIX_EPOCH + Duration::from_millis(784_111_777_600));
        let mut cache = DateCache::default();
        let mut seconds = |ahead: u64| {
            clock.advance(Duration::from_millis(ahead));
            let date = cache.now(clock.now(), || clock.wall());
            String::from_utf8_lossy(date.as_bytes().get(23..25).unwrap()).into_owned()
        };
        assert_eq!([0, 399, 1, 999, 1].map(&mut seconds), ["37", "37", "38", "38", "39"]);
    }

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
