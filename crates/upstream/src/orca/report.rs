//! `endpoint-load-metrics`: what a host says of its load in an answer (ORCA, `xds.data.orca.v3.OrcaLoadReport`).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use nuncio_codec::head::HeaderMap;
use prost::Message;
use serde_json::Value;
use std::collections::HashMap;

const HEADER: &str = "endpoint-load-metrics";
const HEADER_BIN: &str = "endpoint-load-metrics-bin";

/// gRPC leaves the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

type Metrics = HashMap<String, f64>;

/// `xds.data.orca.v3.OrcaLoadReport`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LoadReport {
    /// `cpu_utilization`
    #[prost(double, tag = "1")]
    pub(super) cpu: f64,
    /// `mem_utilization`
    #[prost(double, tag = "2")]
    pub(super) memory: f64,
    /// `request_cost`
    #[prost(map = "string, double", tag = "4")]
    pub(super) request_cost: Metrics,
    /// `utilization`
    #[prost(map = "string, double", tag = "5")]
    pub(super) utilization: Metrics,
    /// `rps_fractional`: requests per second.
    #[prost(double, tag = "6")]
    pub(super) requests: f64,
    /// `eps`: errors per second.
    #[prost(double, tag = "7")]
    pub(super) errors: f64,
    /// `named_metrics`
    #[prost(map = "string, double", tag = "8")]
    pub(super) named: Metrics,
    /// `application_utilization`
    #[prost(double, tag = "9")]
    pub(super) application: f64,
}

impl LoadReport {
    /// The report in an answer's headers or trailers; `None` where there is none that can be read. As in Envoy the
    /// binary header comes first, the first line counts, and one wrong metric spoils the report.
    pub(crate) fn find(fields: &HeaderMap) -> Option<Self> {
        if let Some(value) = fields.get(HEADER_BIN) {
            return Self::of_base64(value);
        }
        let value = fields.get(HEADER)?;
        let (format, rest) = value.split_at_checked(value.iter().position(|b| *b == b' ')?)?;
        let rest = rest.get(1..)?;
        match format {
            b"BIN" => Self::of_base64(rest),
            b"JSON" => Self::of_json(rest),
            b"TEXT" => Self::of_text(std::str::from_utf8(rest).ok()?),
            _ => None,
        }
    }

    fn of_base64(text: &[u8]) -> Option<Self> {
        let bytes = BASE64.decode(text).ok().filter(|bytes| !bytes.is_empty())?;
        Self::decode(&*bytes).ok()
    }

    /// `rps_fractional=100,named_metrics.foo=0.5`, or with colons.
    fn of_text(text: &str) -> Option<Self> {
        let mut report = Self::default();
        let mut seen = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (name, value) = item.split_once(['=', ':'])?;
            let value: f64 = value.trim().parse().ok()?;
            if !value.is_finite() || value < 0.0 || seen.contains(&name) {
                return None;
            }
            seen.push(name);
            *report.metric(name)? = value;
        }
        Some(report)
    }

    /// The metric that the text format calls `name`; one that it does not know is an error.
    fn metric(&mut self, name: &str) -> Option<&mut f64> {
        let own = |of: &'static str| name.strip_prefix(of).filter(|key| !key.is_empty());
        if let Some(key) = own("named_metrics.") {
            return Some(self.named.entry(key.to_owned()).or_default());
        }
        if let Some(key) = own("utilization.") {
            return Some(self.utilization.entry(key.to_owned()).or_default());
        }
        match name {
            "cpu_utilization" => Some(&mut self.cpu),
            "mem_utilization" => Some(&mut self.memory),
            "application_utilization" => Some(&mut self.application),
            "rps_fractional" => Some(&mut self.requests),
            "eps" => Some(&mut self.errors),
            _ => None,
        }
    }

    /// Proto-JSON: names of either spelling, numbers or texts of them, and nothing unknown.
    fn of_json(text: &[u8]) -> Option<Self> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(text) else { return None };
        let mut report = Self::default();
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let (metric, metrics) = match name.as_str() {
                "cpu_utilization" | "cpuUtilization" => (Some(&mut report.cpu), None),
                "mem_utilization" | "memUtilization" => (Some(&mut report.memory), None),
                "rps_fractional" | "rpsFractional" => (Some(&mut report.requests), None),
                "eps" => (Some(&mut report.errors), None),
                "application_utilization" | "applicationUtilization" => (Some(&mut report.application), None),
                "request_cost" | "requestCost" => (None, Some(&mut report.request_cost)),
                "utilization" => (None, Some(&mut report.utilization)),
                "named_metrics" | "namedMetrics" => (None, Some(&mut report.named)),
                // The older field, whose place `rps_fractional` has taken.
                "rps" => (None, None),
                _ => return None,
            };
            match (metric, metrics) {
                (Some(metric), _) => *metric = number(value)?,
                (None, Some(metrics)) => {
                    let all = value.as_object()?.iter();
                    *metrics = all.map(|(key, v)| Some((key.clone(), number(v)?))).collect::<Option<_>>()?;
                }
                (None, None) => drop(number(value)?),
            }
        }
        Some(report)
    }

    /// What the metric of this name says, as `metric_names_for_computing_utilization` has it: a field, or a key behind
    /// the name of its map, where `*` is the greatest of all.
    fn value_of(&self, name: &str) -> Option<f64> {
        let of = |metrics: &Metrics, key: &str| match key {
            "*" => metrics.values().copied().reduce(f64::max),
            key => metrics.get(key).copied(),
        };
        match name.split_once('.') {
            Some(("named_metrics", key)) => of(&self.named, key),
            Some(("utilization", key)) => of(&self.utilization, key),
            Some(("request_cost", key)) => of(&self.request_cost, key),
            Some(_) => None,
            None => match name {
                "cpu_utilization" => Some(self.cpu),
                "mem_utilization" => Some(self.memory),
                "application_utilization" => Some(self.application),
                "rps_fractional" => Some(self.requests),
                "eps" => Some(self.errors),
                _ => None,
            },
        }
    }

    /// How busy the host is: the greatest of the metrics that are asked for, else the application's own figure, else
    /// that of the processor.
    pub(super) fn busy(&self, names: &[Box<str>]) -> f64 {
        let asked = names.iter().filter_map(|name| self.value_of(name)).fold(0.0, f64::max);
        [asked, self.application].into_iter().find(|busy| *busy > 0.0).unwrap_or(self.cpu)
    }
}

/// A number of proto-JSON.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok().filter(|n: &f64| n.is_finite()),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests;
