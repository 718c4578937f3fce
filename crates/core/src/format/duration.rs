//! `COMMON_DURATION`: the time between two points of a stream's life.

use super::FormatContext;
use super::command::Op;
use super::field::millis;
use super::parse::FormatError;

/// A point in a stream's life (`COMMON_DURATION`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Point {
    DownstreamRxBegin,
    DownstreamRxEnd,
    UpstreamCxBegin,
    UpstreamCxEnd,
    UpstreamTxBegin,
    UpstreamTxEnd,
    UpstreamRxBegin,
    UpstreamRxBodyBegin,
    UpstreamRxEnd,
    DownstreamTxBegin,
    DownstreamTxEnd,
}

/// The unit of a `COMMON_DURATION`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Precision {
    Millis,
    Micros,
    Nanos,
}

/// `FROM:TO[:PRECISION]`. A point that no stream has makes the value missing.
pub(super) fn common_duration(argument: &str) -> Result<Op, FormatError> {
    let parts: Vec<&str> = argument.split(':').collect();
    let (from, to, precision) = match parts.as_slice() {
        [from, to] => (from, to, "ms"),
        [from, to, precision] => (from, to, *precision),
        _ => return Err(FormatError::CommonDuration(argument.to_owned())),
    };
    let precision = match precision {
        "ms" => Precision::Millis,
        "us" => Precision::Micros,
        "ns" => Precision::Nanos,
        other => return Err(FormatError::Precision(other.to_owned())),
    };
    Ok(Op::CommonDuration { from: point(from), to: point(to), precision })
}

fn point(name: &str) -> Option<Point> {
    Some(match name {
        "DS_RX_BEG" => Point::DownstreamRxBegin,
        "DS_RX_END" => Point::DownstreamRxEnd,
        "US_CX_BEG" => Point::UpstreamCxBegin,
        "US_CX_END" => Point::UpstreamCxEnd,
        "US_TX_BEG" => Point::UpstreamTxBegin,
        "US_TX_END" => Point::UpstreamTxEnd,
        "US_RX_BEG" => Point::UpstreamRxBegin,
        "US_RX_BODY_BEG" => Point::UpstreamRxBodyBegin,
        "US_RX_END" => Point::UpstreamRxEnd,
        "DS_TX_BEG" => Point::DownstreamTxBegin,
        "DS_TX_END" => Point::DownstreamTxEnd,
        _ => return None,
    })
}

pub(super) fn between(
    cx: &FormatContext<'_>,
    from: Option<Point>,
    to: Option<Point>,
    precision: Precision,
) -> Option<u64> {
    let t = &cx.info.timings;
    let upstream = cx.info.upstream.connection.as_ref();
    let at = |point| match point {
        Point::DownstreamRxBegin => Some(cx.info.start),
        Point::DownstreamRxEnd => t.downstream_rx_end,
        Point::UpstreamCxBegin => upstream.map(|c| c.connect_begin),
        Point::UpstreamCxEnd => upstream.map(|c| c.connect_end),
        Point::UpstreamTxBegin => t.upstream_tx_begin,
        Point::UpstreamTxEnd => t.upstream_tx_end,
        Point::UpstreamRxBegin => t.upstream_rx_begin,
        Point::UpstreamRxBodyBegin => t.upstream_rx_body_begin,
        Point::UpstreamRxEnd => t.upstream_rx_end,
        Point::DownstreamTxBegin => t.downstream_tx_begin,
        Point::DownstreamTxEnd => t.downstream_tx_end,
    };
    let (from, to) = (from?, to?);
    let length = at(to)?.checked_duration_since(at(from)?)?;
    if length.is_zero() && to < from {
        // The clock is read once a turn; what comes before in a stream's life came before.
        return None;
    }
    Some(match precision {
        Precision::Millis => millis(length),
        Precision::Micros => length.as_micros() as u64,
        Precision::Nanos => length.as_nanos() as u64,
    })
}
