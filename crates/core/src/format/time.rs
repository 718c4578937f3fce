//! Times as `START_TIME` and `EMIT_TIME` write them: strftime specifiers, Envoy's `%3f`, and the `%E…` forms, in
//! UTC or, for their `_LOCAL` forms, in the machine's time zone; in the Gregorian calendar.

use crate::civil::{Civil, two};
use jiff::tz::TimeZone;
use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A compiled time format; the default is `%Y-%m-%dT%H:%M:%E3SZ` in UTC.
#[derive(Clone, Debug, Default)]
pub struct TimeFormat {
    /// `None`: the default.
    parts: Option<Box<[Part]>>,
    /// `None`: UTC.
    zone: Option<TimeZone>,
}

/// What `START_TIME_LOCAL` prints without an argument.
const LOCAL_DEFAULT: &str = "%Y-%m-%dT%H:%M:%E3S%z";

/// A point in time as a zone's clocks show it.
struct Shown {
    civil: Civil,
    /// Seconds east of Greenwich.
    offset: i32,
    /// The zone's letters.
    zone: Box<str>,
}

/// Why a time format is refused: it has `%n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewlineError;

#[derive(Clone, Debug)]
enum Part {
    Text(Box<str>),
    /// A number of at least so many digits, padded with zeros or blanks.
    Number(Field, usize, u8),
    Word(Word, Case),
    /// The offset from UTC.
    Offset(OffsetForm),
    /// The zone's letters.
    Zone(Case),
    /// So many digits of the second's fraction; more than nine are zeros.
    Fraction(usize),
    /// The fraction without trailing zeros, `0` at least.
    FractionAll,
    /// The fraction without trailing zeros and its point, or nothing.
    PointFractionAll,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Year,
    Century,
    YearOfCentury,
    Month,
    Day,
    Hour,
    Hour12,
    Minute,
    Second,
    DayOfYear,
    WeekdayFromMonday,
    WeekdayFromSunday,
    WeekFromSunday,
    WeekFromMonday,
    IsoWeek,
    IsoYear,
    IsoYearOfCentury,
    Epoch,
}

/// How letters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    AsIs,
    Upper,
    Lower,
}

/// How an offset from UTC is written.
#[derive(Clone, Copy, Debug)]
enum OffsetForm {
    /// `+0000`
    Plain,
    /// `+00:00`
    Colon,
    /// `+00:00:00`
    Seconds,
}

#[derive(Clone, Copy, Debug)]
enum Word {
    Weekday,
    WeekdayShort,
    Month,
    MonthShort,
    Noon,
    NoonLower,
}

impl Civil {
    /// ISO 8601 year and week: a week belongs to the year that its Thursday is in.
    fn iso_week(&self) -> (i64, u32) {
        let monday_based = (self.weekday + 6) % 7;
        let week = (self.yearday + 9 - monday_based) / 7;
        let weeks_in = |year: i64| {
            let first = |y: i64| (y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400)).rem_euclid(7);
            if first(year) == 4 || first(year - 1) == 3 { 53 } else { 52 }
        };
        match week {
            0 => (self.year - 1, weeks_in(self.year - 1)),
            w if w > weeks_in(self.year) => (self.year + 1, 1),
            w => (self.year, w),
        }
    }

    fn number(&self, field: Field) -> i64 {
        i64::from(match field {
            Field::Year => return self.year,
            Field::IsoYear => return self.iso_week().0,
            Field::Century => return self.year / 100,
            Field::YearOfCentury => return self.year.rem_euclid(100),
            Field::IsoYearOfCentury => return self.iso_week().0.rem_euclid(100),
            Field::Epoch => return self.epoch,
            Field::Month => self.month,
            Field::Day => self.day,
            Field::Hour => self.hour,
            Field::Hour12 => (self.hour + 11) % 12 + 1,
            Field::Minute => self.minute,
            Field::Second => self.second,
            Field::DayOfYear => self.yearday,
            Field::WeekdayFromMonday => (self.weekday + 6) % 7 + 1,
            Field::WeekdayFromSunday => self.weekday,
            Field::WeekFromSunday => (self.yearday + 6 - self.weekday) / 7,
            Field::WeekFromMonday => (self.yearday + 6 - (self.weekday + 6) % 7) / 7,
            Field::IsoWeek => self.iso_week().1,
        })
    }
}

/// `2026-11-22T01:28:02.`
type Second = [u8; 20];

thread_local! {
    /// The second that this thread wrote last: a busy worker writes thousands of lines in one.
    static LAST: Cell<(u64, Second)> = const { Cell::new((u64::MAX, [0; 20])) };
}

fn text_of_second(time: SystemTime) -> Second {
    let c = Civil::of(time);
    let year = c.year.clamp(0, 9999) as u32;
    let ([a, b], [e, f]) = (two(year / 100), two(year % 100));
    let ([g, h], [i, j]) = (two(c.month), two(c.day));
    let ([k, l], [m, n], [o, p]) = (two(c.hour), two(c.minute), two(c.second));
    [a, b, e, f, b'-', g, h, b'-', i, j, b'T', k, l, b':', m, n, b':', o, p, b'.']
}

/// Appends `2026-11-22T01:28:02.976Z`.
pub fn write_utc_millis(time: SystemTime, out: &mut Vec<u8>) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = match LAST.get() {
        (last, text) if last == since.as_secs() => text,
        _ => {
            let text = text_of_second(time);
            LAST.set((since.as_secs(), text));
            text
        }
    };
    let millis = since.subsec_millis();
    let [tens, ones] = two(millis % 100);
    out.extend_from_slice(&second);
    out.extend_from_slice(&[b'0' + (millis / 100) as u8, tens, ones, b'Z']);
}

impl TimeFormat {
    /// Compiles specifiers; an empty format is the default one. What no specifier begins is printed as it is, as
    /// Envoy does.
    pub(super) fn new(format: &str, local: bool) -> Result<Self, NewlineError> {
        let zone = local.then(TimeZone::system);
        let format = if local && format.is_empty() { LOCAL_DEFAULT } else { format };
        let parts = if format.is_empty() { None } else { Some(compile_all(format)?.into()) };
        Ok(Self { parts, zone })
    }

    /// Whether it is the default format, in UTC.
    pub(super) fn is_default(&self) -> bool {
        self.parts.is_none()
    }

    /// Appends `time`.
    pub fn write(&self, time: SystemTime, out: &mut Vec<u8>) {
        let Some(parts) = &self.parts else { return write_utc_millis(time, out) };
        let shown = match &self.zone {
            None => Shown { civil: Civil::of(time), offset: 0, zone: "UTC".into() },
            Some(zone) => Shown::in_zone(time, zone),
        };
        for part in parts {
            write_part(part, &shown, out);
        }
    }
}

impl Shown {
    /// Times beyond jiff's calendar (the year 9999) are shown in UTC.
    fn in_zone(time: SystemTime, zone: &TimeZone) -> Self {
        let utc = Civil::of(time);
        let Ok(instant) = jiff::Timestamp::try_from(time) else {
            return Self { civil: utc, offset: 0, zone: "UTC".into() };
        };
        let info = zone.to_offset_info(instant);
        let offset = info.offset().seconds();
        let by = Duration::from_secs(u64::from(offset.unsigned_abs()));
        let shifted = if offset < 0 { time.checked_sub(by) } else { time.checked_add(by) };
        let civil = Civil { epoch: utc.epoch, ..Civil::of(shifted.unwrap_or(time)) };
        Self { civil, offset, zone: info.abbreviation().into() }
    }
}

fn compile_all(format: &str) -> Result<Vec<Part>, NewlineError> {
    let mut parts = Vec::new();
    let mut rest = format;
    while !rest.is_empty() {
        let plain = rest.find('%').unwrap_or(rest.len());
        let (text, specifier) = rest.split_at(plain);
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        rest = match specifier.strip_prefix('%') {
            Some(specifier) => compile(specifier, &mut parts)?,
            None => "",
        };
    }
    Ok(parts)
}

fn write_part(part: &Part, shown: &Shown, out: &mut Vec<u8>) {
    let civil = &shown.civil;
    match part {
        Part::Text(text) => out.extend_from_slice(text.as_bytes()),
        Part::Number(field, width, b' ') => drop(write!(out, "{:width$}", civil.number(*field))),
        Part::Number(field, width, _) => drop(write!(out, "{:0width$}", civil.number(*field))),
        Part::Word(word, case) => write_cased(word_of(*word, civil), *case, out),
        Part::Offset(form) => write_offset(shown.offset, *form, out),
        Part::Zone(case) => write_cased(&shown.zone, *case, out),
        Part::Fraction(digits) => {
            let from = out.len();
            let _ = write!(out, "{:09}", civil.nanos);
            out.resize(from + digits, b'0');
        }
        Part::FractionAll => write_trimmed(civil.nanos, out),
        Part::PointFractionAll if civil.nanos == 0 => {}
        Part::PointFractionAll => {
            out.push(b'.');
            write_trimmed(civil.nanos, out);
        }
    }
}

fn write_cased(text: &str, case: Case, out: &mut Vec<u8>) {
    let from = out.len();
    out.extend_from_slice(text.as_bytes());
    let text = out.get_mut(from..).unwrap_or_default();
    match case {
        Case::AsIs => {}
        Case::Upper => text.make_ascii_uppercase(),
        Case::Lower => text.make_ascii_lowercase(),
    }
}

fn write_offset(seconds: i32, form: OffsetForm, out: &mut Vec<u8>) {
    out.push(if seconds < 0 { b'-' } else { b'+' });
    let n = seconds.unsigned_abs();
    out.extend_from_slice(&two(n / 3600));
    if !matches!(form, OffsetForm::Plain) {
        out.push(b':');
    }
    out.extend_from_slice(&two(n / 60 % 60));
    if let OffsetForm::Seconds = form {
        out.push(b':');
        out.extend_from_slice(&two(n % 60));
    }
}

fn write_trimmed(nanos: u32, out: &mut Vec<u8>) {
    let from = out.len();
    let _ = write!(out, "{nanos:09}");
    while out.len() > from + 1 && out.last() == Some(&b'0') {
        out.pop();
    }
}

fn word_of(word: Word, civil: &Civil) -> &'static str {
    let (weekday, month) = (civil.weekday_name(), civil.month_name());
    match word {
        Word::Weekday => weekday,
        Word::WeekdayShort => weekday.get(..3).unwrap_or_default(),
        Word::Month => month,
        Word::MonthShort => month.get(..3).unwrap_or_default(),
        Word::Noon => {
            if civil.hour < 12 {
                "AM"
            } else {
                "PM"
            }
        }
        Word::NoonLower => {
            if civil.hour < 12 {
                "am"
            } else {
                "pm"
            }
        }
    }
}

/// Compiles one specifier; `text` follows the `%`. Returns what is left.
fn compile<'t>(text: &'t str, parts: &mut Vec<Part>) -> Result<&'t str, NewlineError> {
    for (specifier, part) in [
        ("E*z", Part::Offset(OffsetForm::Seconds)),
        ("::z", Part::Offset(OffsetForm::Seconds)),
        ("Ez", Part::Offset(OffsetForm::Colon)),
        (":z", Part::Offset(OffsetForm::Colon)),
        ("E4Y", Part::Number(Field::Year, 4, b'0')),
        ("ET", Part::Text("T".into())),
    ] {
        if let Some(rest) = text.strip_prefix(specifier) {
            parts.push(part);
            return Ok(rest);
        }
    }
    if let Some(rest) = text.strip_prefix("E*S") {
        parts.extend([Part::Number(Field::Second, 2, b'0'), Part::PointFractionAll]);
        return Ok(rest);
    }
    if let Some(rest) = text.strip_prefix("E*f") {
        parts.push(Part::FractionAll);
        return Ok(rest);
    }
    let extended = text.strip_prefix('E');
    let digits = extended.unwrap_or(text);
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    if let (Some(width), Some(rest)) =
        (digits.get(..count).and_then(|n| n.parse().ok()).filter(|n: &usize| *n <= 15), digits.get(count..))
    {
        if let (Some(rest), true) = (rest.strip_prefix('S'), extended.is_some()) {
            parts.push(Part::Number(Field::Second, 2, b'0'));
            if width > 0 {
                parts.extend([Part::Text(".".into()), Part::Fraction(width)]);
            }
            return Ok(rest);
        }
        if let Some(rest) = rest.strip_prefix('f') {
            parts.push(Part::Fraction(width));
            return Ok(rest);
        }
    }
    let flag = text.bytes().next().filter(|b| b"-_0^#".contains(b));
    let rest = if flag.is_some() { text.get(1..).unwrap_or_default() } else { text };
    let rest = rest.strip_prefix(['E', 'O']).filter(|r| !r.is_empty()).unwrap_or(rest);
    let Some(letter) = rest.chars().next() else {
        parts.push(Part::Text(format!("%{text}").into()));
        return Ok("");
    };
    let after = rest.get(letter.len_utf8()..).unwrap_or_default();
    if !specifier(letter, flag, parts)? {
        let len = text.len() - after.len();
        parts.push(Part::Text(format!("%{}", text.get(..len).unwrap_or_default()).into()));
    }
    Ok(after)
}

/// One letter; `false` when it means nothing.
fn specifier(letter: char, flag: Option<u8>, parts: &mut Vec<Part>) -> Result<bool, NewlineError> {
    let (field, width, pad) = match letter {
        'Y' => (Field::Year, 1, b'0'),
        'G' => (Field::IsoYear, 1, b'0'),
        'C' => (Field::Century, 2, b'0'),
        'y' => (Field::YearOfCentury, 2, b'0'),
        'g' => (Field::IsoYearOfCentury, 2, b'0'),
        'm' => (Field::Month, 2, b'0'),
        'd' => (Field::Day, 2, b'0'),
        'e' => (Field::Day, 2, b' '),
        'H' => (Field::Hour, 2, b'0'),
        'I' => (Field::Hour12, 2, b'0'),
        'k' => (Field::Hour, 2, b' '),
        'l' => (Field::Hour12, 2, b' '),
        'M' => (Field::Minute, 2, b'0'),
        'S' => (Field::Second, 2, b'0'),
        'j' => (Field::DayOfYear, 3, b'0'),
        'u' => (Field::WeekdayFromMonday, 1, b'0'),
        'w' => (Field::WeekdayFromSunday, 1, b'0'),
        'U' => (Field::WeekFromSunday, 2, b'0'),
        'W' => (Field::WeekFromMonday, 2, b'0'),
        'V' => (Field::IsoWeek, 2, b'0'),
        's' => (Field::Epoch, 1, b'0'),
        _ => return other(letter, flag, parts),
    };
    let (width, pad) = match flag {
        Some(b'-') => (1, b'0'),
        Some(b'_') => (width, b' '),
        Some(b'0') => (width, b'0'),
        _ => (width, pad),
    };
    parts.push(Part::Number(field, width, pad));
    Ok(true)
}

/// Letters that are words, or stand for several others.
fn other(letter: char, flag: Option<u8>, parts: &mut Vec<Part>) -> Result<bool, NewlineError> {
    let word = match letter {
        'A' => Word::Weekday,
        'a' => Word::WeekdayShort,
        'B' => Word::Month,
        'b' | 'h' => Word::MonthShort,
        'p' => Word::Noon,
        'P' => Word::NoonLower,
        _ => return composite(letter, flag, parts),
    };
    let case = match flag {
        Some(b'#') if matches!(word, Word::Noon) => Case::Lower,
        Some(b'^' | b'#') => Case::Upper,
        _ => Case::AsIs,
    };
    parts.push(Part::Word(word, case));
    Ok(true)
}

fn composite(letter: char, flag: Option<u8>, parts: &mut Vec<Part>) -> Result<bool, NewlineError> {
    let format = match letter {
        'c' => "%a %b %e %H:%M:%S %Y",
        'D' | 'x' => "%m/%d/%y",
        'F' => "%Y-%m-%d",
        'r' => "%I:%M:%S %p",
        'R' => "%H:%M",
        'T' | 'X' => "%H:%M:%S",
        'n' => return Err(NewlineError),
        _ => {
            parts.push(match letter {
                'f' => Part::Fraction(9),
                't' => Part::Text("\t".into()),
                'z' => Part::Offset(OffsetForm::Plain),
                'Z' => Part::Zone(if flag == Some(b'#') { Case::Lower } else { Case::AsIs }),
                '%' => Part::Text("%".into()),
                _ => return Ok(false),
            });
            return Ok(true);
        }
    };
    parts.extend(compile_all(format)?.into_iter().map(|part| match part {
        Part::Word(word, _) if flag == Some(b'^') => Part::Word(word, Case::Upper),
        other => other,
    }));
    Ok(true)
}
