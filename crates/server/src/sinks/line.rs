//! How a stat is told: the lines of statsd and its dialects.

use nuncio_core::stats::Tagged;
use std::fmt::Write as _;

/// A dialect of statsd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Whole names: `envoy.cluster.c.upstream_rq_total:1|c`
    Statsd,
    /// Tags behind the line: `envoy.cluster.upstream_rq_total:1|c|#envoy.cluster_name:c`
    Dog,
    /// Tags behind the name: `envoy.cluster.upstream_rq_total;envoy.cluster_name=c:1|c`
    Graphite,
}

impl Style {
    /// Whether tags are told apart from names.
    pub(super) fn has_tags(self) -> bool {
        self != Self::Statsd
    }
}

/// A stat's name, and its tags apart.
pub(super) struct Named<'a> {
    full: &'a str,
    /// Without tags, where no dialect asks for them.
    tagged: Option<&'a Tagged>,
}

/// What is told of a stat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Told {
    /// What a counter has gained.
    Counter(u64),
    /// A gauge's level.
    Gauge(u64),
    /// So many samples of a histogram that are this value.
    Samples {
        /// The value.
        value: u64,
        /// How many.
        count: u64,
    },
}

/// Samples of one value that are told one by one; where there are more, one line tells of them with a sample rate.
const ONE_BY_ONE: u64 = 16;

impl<'a> Named<'a> {
    pub(super) fn new(full: &'a str, tagged: Option<&'a Tagged>) -> Self {
        Self { full, tagged }
    }

    /// Calls `out` with each line that tells of this stat.
    pub(super) fn lines(&self, style: Style, prefix: &str, told: Told, out: &mut dyn FnMut(&str)) {
        let (value, kind, times) = match told {
            Told::Counter(n) => (n, "c", 1),
            Told::Gauge(n) => (n, "g", 1),
            Told::Samples { value, count } => (value, "ms", count),
        };
        let mut line = String::with_capacity(prefix.len() + self.full.len() + 32);
        // Writing to a String cannot fail.
        let _ = self.write(style, prefix, (value, kind, times), &mut line);
        for _ in 0..if times > ONE_BY_ONE { 1 } else { times } {
            out(&line);
        }
    }

    fn write(
        &self,
        style: Style,
        prefix: &str,
        (value, kind, times): (u64, &str, u64),
        line: &mut String,
    ) -> std::fmt::Result {
        let Some(Tagged { rest, tags }) = self.tagged.filter(|_| style.has_tags()) else {
            write!(line, "{prefix}.{}:{value}|{kind}", self.full)?;
            return rate(times, line);
        };
        write!(line, "{prefix}.{rest}")?;
        if style == Style::Graphite {
            tags.iter().try_for_each(|tag| write!(line, ";{}={}", tag.name, tag.value))?;
        }
        write!(line, ":{value}|{kind}")?;
        rate(times, line)?;
        if style == Style::Dog {
            let mut before = "|#";
            for tag in tags {
                write!(line, "{before}{}:{}", tag.name, tag.value)?;
                before = ",";
            }
        }
        Ok(())
    }
}

/// Says that a line stands for many, where it does.
fn rate(times: u64, line: &mut String) -> std::fmt::Result {
    if times > ONE_BY_ONE { write!(line, "|@{}", 1.0 / times as f64) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
