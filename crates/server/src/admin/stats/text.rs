//! `/stats` as lines, JSON and a page.

use super::Buckets;
use super::bins::{Bins, Bound, QUANTILES};
use super::sample::{Distribution, Sample};
use nuncio_proto::json::quote;
use std::fmt::Write;

type Samples = [(String, Sample)];

/// Texts by name, then counters and gauges by name, then histograms by name.
pub(super) fn print(samples: &Samples, buckets: Buckets) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for (name, text) in texts(samples) {
        let _ = writeln!(out, "{name}: \"{}\"", sanitised(text));
    }
    for (name, sample) in samples {
        if let Sample::Counter(n, _) | Sample::Gauge(n, _) = sample {
            let _ = writeln!(out, "{name}: {n}");
        }
    }
    for (name, d) in histograms(samples) {
        if d.total.is_empty() {
            let _ = writeln!(out, "{name}: No recorded values");
            continue;
        }
        match buckets {
            Buckets::Summary | Buckets::Native { .. } => {
                let _ = writeln!(out, "{name}: {}", summary(d));
            }
            Buckets::Cumulative | Buckets::Disjoint => {
                let _ = write!(out, "{name}:");
                let counts = |bins| counts(bins, &d.bounds, buckets);
                let (interval, total) = (counts(&d.interval), counts(&d.total));
                for (bound, (i, n)) in d.bounds.iter().zip(interval.iter().zip(total)) {
                    let _ = write!(out, " B{}({i},{n})", bound.text);
                }
                out.push('\n');
            }
            Buckets::Detailed => {
                let list = |bins: &Bins| {
                    let all: Vec<String> =
                        bins.iter().map(|(lower, width, n)| format!("{lower},{width}:{n}")).collect();
                    all.join(", ")
                };
                let _ = writeln!(
                    out,
                    "{name}:\n  totals={}\n  intervals={}\n  summary={}",
                    list(&d.total),
                    list(&d.interval),
                    summary(d)
                );
            }
        }
    }
    out
}

fn texts(samples: &Samples) -> impl Iterator<Item = (&str, &str)> {
    samples.iter().filter_map(|(name, sample)| match sample {
        Sample::Text(text) => Some((name.as_str(), &**text)),
        _ => None,
    })
}

/// A text that does no harm on a page.
fn sanitised(text: &str) -> String {
    let escapes = [("&", "&amp;"), ("\"", "&quot;"), ("'", "&#39;"), ("<", "&lt;"), (">", "&gt;")];
    escapes.iter().fold(text.to_owned(), |text, (raw, escape)| text.replace(raw, escape))
}

fn histograms(samples: &Samples) -> impl Iterator<Item = (&str, &Distribution)> {
    samples.iter().filter_map(|(name, sample)| match sample {
        Sample::Histogram(d) => Some((name.as_str(), d)),
        _ => None,
    })
}

/// `P0(interval,total) P25(…) …`
fn summary(d: &Distribution) -> String {
    let shown = |bins: &Bins, q| bins.quantile(q).map_or("nan".to_owned(), |v| v.to_string());
    let parts: Vec<String> = QUANTILES
        .iter()
        .map(|(q, name)| format!("P{name}({},{})", shown(&d.interval, *q), shown(&d.total, *q)))
        .collect();
    parts.join(" ")
}

/// The count of each bucket: of everything up to its bound, or of what lies between it and the one before.
fn counts(bins: &Bins, bounds: &[Bound], buckets: Buckets) -> Vec<u64> {
    let mut before = 0;
    bounds
        .iter()
        .map(|bound| {
            let n = bins.at_most(bound.at);
            let own = n - before;
            if buckets == Buckets::Disjoint {
                before = n;
            }
            own
        })
        .collect()
}

/// `{"stats":[…]}`, histograms together at the end.
pub(super) fn json(samples: &Samples, buckets: Buckets) -> String {
    let mut items = Vec::new();
    for (name, text) in texts(samples) {
        items.push(format!("{{\"name\":{},\"value\":{}}}", quoted(name), quoted(text)));
    }
    for (name, sample) in samples {
        if let Sample::Counter(n, _) | Sample::Gauge(n, _) = sample {
            items.push(format!("{{\"name\":{},\"value\":{n}}}", quoted(name)));
        }
    }
    let all: Vec<(&str, &Distribution)> = histograms(samples).collect();
    if !all.is_empty() {
        let shown = |f: &dyn Fn(&str, &Distribution) -> String| {
            all.iter().map(|(name, d)| f(name, d)).collect::<Vec<_>>().join(",")
        };
        let quantiles = QUANTILES.map(|(_, name)| name).join(",");
        items.push(match buckets {
            Buckets::Summary | Buckets::Native { .. } => format!(
                "{{\"histograms\":{{\"supported_quantiles\":[{quantiles}],\"computed_quantiles\":[{}]}}}}",
                shown(&|name, d| format!("{{\"name\":{},\"values\":[{}]}}", quoted(name), values(d)))
            ),
            Buckets::Cumulative | Buckets::Disjoint => {
                format!("{{\"histograms\":[{}]}}", shown(&|name, d| bucketed(name, d, buckets)))
            }
            Buckets::Detailed => format!(
                "{{\"histograms\":{{\"supported_percentiles\":[{quantiles}],\"details\":[{}]}}}}",
                shown(&detailed)
            ),
        });
    }
    format!("{{\"stats\":[{}]}}", items.join(","))
}

fn quoted(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    quote(&mut out, name);
    out
}

fn values(d: &Distribution) -> String {
    let value = |bins: &Bins, q| bins.quantile(q).map_or("null".to_owned(), |v| v.to_string());
    QUANTILES
        .map(|(q, _)| {
            format!("{{\"cumulative\":{},\"interval\":{}}}", value(&d.total, q), value(&d.interval, q))
        })
        .join(",")
}

fn bucketed(name: &str, d: &Distribution, buckets: Buckets) -> String {
    let counts = |bins| counts(bins, &d.bounds, buckets);
    let (interval, total) = (counts(&d.interval), counts(&d.total));
    let all: Vec<String> = d
        .bounds
        .iter()
        .zip(interval.iter().zip(total))
        .map(|(b, (i, n))| format!("{{\"upper_bound\":{},\"interval\":{i},\"cumulative\":{n}}}", b.json))
        .collect();
    format!("{{\"name\":{},\"buckets\":[{}]}}", quoted(name), all.join(","))
}

fn detailed(name: &str, d: &Distribution) -> String {
    let list = |bins: &Bins| {
        let all: Vec<String> = bins
            .iter()
            .map(|(lower, width, n)| format!("{{\"lower_bound\":{lower},\"width\":{width},\"count\":{n}}}"))
            .collect();
        all.join(",")
    };
    format!(
        "{{\"name\":{},\"totals\":[{}],\"intervals\":[{}],\"percentiles\":[{}]}}",
        quoted(name),
        list(&d.total),
        list(&d.interval),
        values(d)
    )
}

/// The lines on a page.
pub(super) fn html(samples: &Samples, buckets: Buckets) -> String {
    let lines = print(samples, buckets).replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n<title>Envoy Admin: stats</title>\n\
         </head>\n<body>\n<pre>\n{lines}</pre>\n</body>\n</html>\n"
    )
}
