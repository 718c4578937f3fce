//! Calendar time in UTC (the proleptic Gregorian calendar), for log lines, formats and the `date` header.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
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

/// A point in time, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Seconds since 1970, rounded down.
    pub epoch: i64,
    /// Nanoseconds of the second.
    pub nanos: u32,
    /// The year.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
    /// 0 is Sunday.
    pub weekday: u32,
    /// 1 is the first of January.
    pub yearday: u32,
}

impl Civil {
    /// Takes a moment apart.
    pub fn of(time: SystemTime) -> Self {
        let (epoch, nanos) = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => (after.as_secs() as i64, after.subsec_nanos()),
            Err(before) => {
                let up = before.duration() + Duration::from_nanos(999_999_999);
                (-(up.as_secs() as i64), (1_000_000_000 - before.duration().subsec_nanos()) % 1_000_000_000)
            }
        };
        let (days, of_day) = (epoch.div_euclid(86_400), epoch.rem_euclid(86_400) as u32);
        let (year, month, day) = date_of(days);
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap = u32::from(month > 2 && is_leap(year));
        let yearday = before.get(month as usize - 1).copied().unwrap_or_default() + day + leap;
        let weekday = (days + 4).rem_euclid(7) as u32;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        Self { epoch, nanos, year, month, day, hour, minute, second, weekday, yearday }
    }

    /// `Sunday` to `Saturday`.
    pub fn weekday_name(&self) -> &'static str {
        WEEKDAYS.get(self.weekday as usize).copied().unwrap_or_default()
    }

    /// `January` to `December`.
    pub fn month_name(&self) -> &'static str {
        MONTHS.get((self.month as usize).wrapping_sub(1)).copied().unwrap_or_default()
    }
}

/// Days since 1970-01-01 to year, month and day (the proleptic Gregorian calendar, eras of 400 years).
fn date_of(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as u32, day as u32)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// The last two decimal digits of `n`.
#[inline]
pub fn two(n: u32) -> [u8; 2] {
    [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        let rows = [
            (0, (1970, 1, 1), "Thursday"),
            (951_782_399, (2000, 2, 28), "Monday"),
            (951_782_400, (2000, 2, 29), "Tuesday"),
            (4_107_542_400, (2100, 3, 1), "Monday"),
        ];
        for (seconds, date, weekday) in rows {
            let civil = Civil::of(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!((civil.year, civil.month, civil.day), date);
            assert_eq!(civil.weekday_name(), weekday);
        }
    }
}
