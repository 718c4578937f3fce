//! Calendar time in UTC, for log lines, the `date` header and timestamps in dumps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment taken apart, UTC in the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, 1970 and later.
    pub year: u64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// Below 1,000,000,000.
    pub nanos: u32,
    /// 0 is Sunday.
    pub weekday: u8,
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Civil {
    /// Takes a moment apart; moments before 1970 count as its first.
    pub fn of(at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        // Years are counted from 1 March of year 0, so that the leap day ends a year; 146,097 days are 400
        // years of the Gregorian calendar.
        let shifted = days + 719_468;
        let (era, in_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
        let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * in_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month: month as u8,
            day: (in_year - (153 * march_month + 2) / 5 + 1) as u8,
            hour: (rest / 3_600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
            nanos: since.subsec_nanos(),
            weekday: ((days + 4) % 7) as u8,
        }
    }

    /// `Sunday` to `Saturday`.
    pub fn day_name(&self) -> &'static str {
        DAYS.get(usize::from(self.weekday)).copied().unwrap_or_default()
    }

    /// `January` to `December`.
    pub fn month_name(&self) -> &'static str {
        MONTHS.get(usize::from(self.month).wrapping_sub(1)).copied().unwrap_or_default()
    }

    /// The form of the `date` header (RFC 9110 section 5.6.7): `Sun, 22 Nov 2026 03:15:59 GMT`.
    pub fn http(&self) -> String {
        format!(
            "{:.3}, {:02} {:.3} {:04} {:02}:{:02}:{:02} GMT",
            self.day_name(),
            self.day,
            self.month_name(),
            self.year,
            self.hour,
            self.minute,
            self.second
        )
    }

    /// The form of a protobuf timestamp in JSON, with milliseconds: `2026-11-22T03:15:59.154Z`.
    pub fn rfc3339_millis(&self) -> String {
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            self.year,
            self.month,
            self.day,
            self.hour,
            self.minute,
            self.second,
            self.nanos / 1_000_000
        )
    }
}
