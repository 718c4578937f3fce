//! The `date` header (RFC 9110 section 5.6.7), made once per second.

use std::time::{SystemTime, UNIX_EPOCH};

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
        const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
        const MONTHS: [&[u8; 3]; 12] =
            [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
        let (days, clock) = (secs / 86_400, secs % 86_400);
        let (year, month, day) = civil(days);
        let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = text.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        put(0, DAYS.get((days % 7) as usize).copied().unwrap_or(b"Thu"));
        put(5, &two(day));
        put(8, MONTHS.get(month as usize).copied().unwrap_or(b"Jan"));
        put(12, &two(year / 100));
        put(14, &two(year % 100));
        put(17, &two(clock / 3600));
        put(20, &two(clock / 60 % 60));
        put(23, &two(clock % 60));
        Self(text)
    }
}

fn two(n: u64) -> [u8; 2] {
    [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]
}

/// Days since 1970-01-01 as year, month from 0, day from 1. Years are counted from March in eras of 400, so
/// that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    (year, month, day)
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
    use std::time::Duration;

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
