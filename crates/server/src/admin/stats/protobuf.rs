//! Prometheus' protobuf format: `io.prometheus.client.MetricFamily` messages, each behind its length.

use super::bins::QUANTILES;
use super::native;
use super::prometheus::{Family, Line, Shown, Type};
use super::sample::Distribution;
use crate::admin::wire::Wire;
use std::iter::Peekable;
use std::str::Chars;

/// The type of the answer.
pub(super) const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Whether an `accept` header asks for the format before any other.
pub(super) fn accepted(accept: &str) -> bool {
    accept.split([',', ';']).next() == Some("application/vnd.google.protobuf")
}

/// Appends a family; `rows` are the labels that its lines name. Zeros are written, as Envoy does.
pub(super) fn write(family: &Family, rows: &[String], out: &mut Vec<u8>) {
    let kind = match family.kind {
        Type::Counter => 0,
        Type::Gauge => 1,
        Type::Summary => 2,
        Type::Histogram | Type::Native { .. } => 4,
    };
    let mut message = Wire::default().with(1, family.name.as_bytes()).always(3, kind);
    for line in &family.lines {
        let labels = rows.get(line.row as usize).map_or("", String::as_str);
        message.add(4, metric(family.kind, line, labels).bytes());
    }
    out.extend_from_slice(Wire::default().delimited(message.bytes()).bytes());
}

fn metric(kind: Type, line: &Line, labels: &str) -> Wire {
    let mut metric = Wire::default();
    let mut label = |name: &str, value: &str| {
        metric.add(1, Wire::default().with(1, name.as_bytes()).with(2, value.as_bytes()).bytes());
    };
    if let Some((name, code)) = line.code() {
        label(name, &code.to_string());
    }
    for (name, value) in Pairs(labels.chars().peekable()) {
        label(&name, &value);
    }
    match (&line.value, kind) {
        (Shown::Number(n), Type::Counter) => metric.with(3, Wire::default().double(1, *n as f64).bytes()),
        (Shown::Number(n), _) => metric.with(2, Wire::default().double(1, *n as f64).bytes()),
        (Shown::Histogram(d), Type::Summary) => metric.with(4, summary(d).bytes()),
        (Shown::Histogram(d), Type::Native { most_buckets }) => {
            metric.with(7, native::histogram(&d.total, most_buckets).bytes())
        }
        (Shown::Histogram(d), _) => metric.with(7, histogram(d).bytes()),
    }
}

/// Of the last interval, as in Envoy.
fn summary(d: &Distribution) -> Wire {
    let mut message = Wire::default().always(1, d.interval.count()).double(2, d.interval.sum());
    for (q, _) in QUANTILES {
        let value = d.interval.quantile(q).unwrap_or(f64::from_bits(i64::MAX as u64));
        message.add(3, Wire::default().double(1, q).double(2, value).bytes());
    }
    message
}

fn histogram(d: &Distribution) -> Wire {
    let mut message = Wire::default().always(1, d.total.count()).double(2, d.total.sum());
    for bound in d.bounds.iter() {
        message.add(3, Wire::default().always(1, d.total.at_most(bound.at)).double(2, bound.at).bytes());
    }
    message
}

/// Labels as the text format has them (`a="b",c="d"`), name and value apart.
struct Pairs<'a>(Peekable<Chars<'a>>);

impl Iterator for Pairs<'_> {
    type Item = (String, String);

    fn next(&mut self) -> Option<(String, String)> {
        let name: String = self.0.by_ref().take_while(|c| *c != '=').collect();
        // The quote.
        self.0.next()?;
        let mut value = String::new();
        while let Some(c) = self.0.next() {
            match c {
                '"' => break,
                '\\' => match self.0.next()? {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                _ => value.push(c),
            }
        }
        // The comma, where there is another one.
        self.0.next_if_eq(&',');
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_apart_and_the_first_wish_counts() {
        let pairs: Vec<_> = Pairs(r#"a="b",c="d,\"e\\""#.chars().peekable()).collect();
        assert_eq!(pairs, [("a".into(), "b".into()), ("c".into(), "d,\"e\\".into())]);
        assert_eq!(Pairs("".chars().peekable()).next(), None);
        for (accept, wanted) in [
            ("application/vnd.google.protobuf;q=0.3, text/plain", true),
            ("text/plain, application/vnd.google.protobuf", false),
            ("application/vnd.google.protobuf2", false),
            ("", false),
        ] {
            assert_eq!(accepted(accept), wanted, "{accept}");
        }
    }
}
