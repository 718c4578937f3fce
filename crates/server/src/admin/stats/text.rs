//! `/stats` as lines, JSON and a page.

use super::Buckets;
use super::bins::{BOUNDS, Bins, QUANTILES};
use super::sample::Sample;
use nuncio_proto::json::quote;
use std::fmt::Write;

type Samples = [(String, Sample)];

/// Counters and gauges by name, then histograms by name.
pub(super) fn print(samples: &Samples, buckets: Buckets) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    for (name, sample) in samples {
        if let Sample::Counter(n) | Sample::Gauge(n) = sample {
            let _ = writeln!(out, "{name}: {n}");
        }
    }
    for (name, bins) in histograms(samples) {
        if bins.is_empty() {
            let _ = writeln!(out, "{name}: No recorded values");
            continue;
        }
        match buckets {
            Buckets::Summary => {
                let _ = writeln!(out, "{name}: {}", summary(bins));
            }
            Buckets::Cumulative | Buckets::Disjoint => {
                let _ = write!(out, "{name}:");
                for (bound, n) in BOUNDS.iter().zip(counts(bins, buckets)) {
                    let _ = write!(out, " B{}(0,{n})", bound.text);
                }
                out.push('\n');
            }
            Buckets::Detailed => {
                let totals: Vec<String> =
                    bins.iter().map(|(lower, width, n)| format!("{lower},{width}:{n}")).collect();
                let _ = writeln!(
                    out,
                    "{name}:\n  totals={}\n  intervals=\n  summary={}\n",
                    totals.join(", "),
                    summary(bins)
                );
            }
        }
    }
    out
}

fn histograms(samples: &Samples) -> impl Iterator<Item = (&str, &Bins)> {
    samples.iter().filter_map(|(name, sample)| match sample {
        Sample::Histogram(bins) => Some((name.as_str(), bins)),
        _ => None,
    })
}

/// `P0(interval,total) P25(…) …`. Intervals are not kept.
fn summary(bins: &Bins) -> String {
    let parts: Vec<String> = QUANTILES
        .iter()
        .map(|(q, name)| format!("P{name}(nan,{})", bins.quantile(*q).unwrap_or_default()))
        .collect();
    parts.join(" ")
}

/// The count of each bucket: of everything up to its bound, or of what lies between it and the one before.
fn counts(bins: &Bins, buckets: Buckets) -> Vec<u64> {
    let mut before = 0;
    BOUNDS
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
    for (name, sample) in samples {
        if let Sample::Counter(n) | Sample::Gauge(n) = sample {
            items.push(format!("{{\"name\":{},\"value\":{n}}}", quoted(name)));
        }
    }
    let all: Vec<(&str, &Bins)> = histograms(samples).collect();
    if !all.is_empty() {
        let shown = |f: &dyn Fn(&str, &Bins) -> String| {
            all.iter().map(|(name, bins)| f(name, bins)).collect::<Vec<_>>().join(",")
        };
        let quantiles = QUANTILES.map(|(_, name)| name).join(",");
        items.push(match buckets {
            Buckets::Summary => format!(
                "{{\"histograms\":{{\"supported_quantiles\":[{quantiles}],\"computed_quantiles\":[{}]}}}}",
                shown(&|name, bins| format!("{{\"name\":{},\"values\":[{}]}}", quoted(name), values(bins)))
            ),
            Buckets::Cumulative | Buckets::Disjoint => {
                format!("{{\"histograms\":[{}]}}", shown(&|name, bins| bucketed(name, bins, buckets)))
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

fn values(bins: &Bins) -> String {
    let value = |q: f64| bins.quantile(q).map_or("null".to_owned(), |v| v.to_string());
    QUANTILES.map(|(q, _)| format!("{{\"cumulative\":{},\"interval\":null}}", value(q))).join(",")
}

fn bucketed(name: &str, bins: &Bins, buckets: Buckets) -> String {
    let all: Vec<String> = BOUNDS
        .iter()
        .zip(counts(bins, buckets))
        .map(|(b, n)| format!("{{\"upper_bound\":{},\"interval\":0,\"cumulative\":{n}}}", b.json))
        .collect();
    format!("{{\"name\":{},\"buckets\":[{}]}}", quoted(name), all.join(","))
}

fn detailed(name: &str, bins: &Bins) -> String {
    let totals: Vec<String> = bins
        .iter()
        .map(|(lower, width, n)| format!("{{\"lower_bound\":{lower},\"width\":{width},\"count\":{n}}}"))
        .collect();
    format!(
        "{{\"name\":{},\"totals\":[{}],\"intervals\":[],\"percentiles\":[{}]}}",
        quoted(name),
        totals.join(","),
        values(bins)
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
