//! `max_stream_duration`, by the route, by a gRPC client's `grpc-timeout`, or by the connection manager.

use crate::route::{GrpcTimeout, Limit, StreamLimits};
use nuncio_codec::head::{HeaderMap, Known};
use nuncio_core::format::is_grpc_request;
use std::time::Duration;

/// What a `grpc-timeout` may say at most, in whatever unit.
const MOST: u64 = 99_999_999;

/// How long a stream may last on a route that says something about it; `None`: for ever. `usual` is the connection
/// manager's limit. A gRPC upstream is told in `grpc-timeout`.
pub fn duration(limits: &StreamLimits, usual: Option<Duration>, headers: &mut HeaderMap) -> Option<Duration> {
    let grpc = is_grpc_request(headers);
    let asked = headers.get(Known::GrpcTimeout).filter(|_| grpc).and_then(parse);
    let time = match (limits.grpc_max.zip(asked), limits.max) {
        (Some((Limit::After(cap), asked)), _) => Some(asked.min(cap).saturating_sub(limits.grpc_offset)),
        (Some((Limit::Off, asked)), _) => Some(asked.saturating_sub(limits.grpc_offset)),
        (None, Some(Limit::After(time))) => Some(time),
        (None, Some(Limit::Off)) => {
            if grpc {
                headers.remove(Known::GrpcTimeout);
            }
            None
        }
        (None, None) => usual,
    };
    if let Some(time) = time.filter(|_| grpc) {
        tell(time, headers);
    }
    time
}

/// Tells a gRPC upstream how much time it has.
pub fn tell(time: Duration, headers: &mut HeaderMap) {
    headers.set(Known::GrpcTimeout, spell(time).as_bytes());
}

/// The time limit of a gRPC request by what it says of itself, within the route's older limits; `None`: none. One that
/// says nothing, or nothing that can be read, may take all the time there is.
pub fn asked(limits: GrpcTimeout, headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get(Known::GrpcTimeout).and_then(parse).filter(|asked| !asked.is_zero());
    let asked = asked.map(|time| if limits.offset < time { time - limits.offset } else { time });
    asked.map(|time| limits.max.map_or(time, |max| time.min(max))).or(limits.max)
}

/// Reads `grpc-timeout`: a number and a unit, where blanks may stand between them. Less than a millisecond counts as one.
fn parse(text: &[u8]) -> Option<Duration> {
    let (unit, number) = text.split_last()?;
    let n: u64 = std::str::from_utf8(number).ok()?.trim_ascii().parse().ok().filter(|n| *n <= MOST)?;
    let millis = match unit {
        b'H' => n * 3_600_000,
        b'M' => n * 60_000,
        b'S' => n * 1000,
        b'm' => n,
        b'u' => n.div_ceil(1000),
        b'n' => n.div_ceil(1_000_000),
        _ => return None,
    };
    Some(Duration::from_millis(millis))
}

/// Spells a time in the finest unit from milliseconds on whose number fits.
fn spell(time: Duration) -> String {
    let mut n = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut unit = 'm';
    for (next, per) in [('S', 1000), ('M', 60), ('H', 60)] {
        if n <= MOST {
            break;
        }
        n /= per;
        unit = next;
    }
    format!("{}{unit}", n.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_and_spelled_in_grpcs_units() {
        for (text, millis) in [
            ("2H", Some(7_200_000)),
            ("3M", Some(180_000)),
            ("4S", Some(4000)),
            ("5m", Some(5)),
            ("1u", Some(1)),
            ("1000001n", Some(2)),
            ("2 S", Some(2000)),
            ("1Sx", None),
            ("100000000m", None),
            ("5", None),
            ("m", None),
            ("5x", None),
        ] {
            assert_eq!(parse(text.as_bytes()), millis.map(Duration::from_millis), "{text}");
        }
        for (millis, text) in [(0, "0m"), (99_999_999, "99999999m"), (100_000_000, "100000S")] {
            assert_eq!(spell(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_clients_word_counts_only_where_the_route_listens() {
        let s = Duration::from_secs;
        let listens = |max: Option<Limit>, grpc_max: Option<Limit>, offset: u64| StreamLimits {
            max,
            grpc_max,
            grpc_offset: s(offset),
        };
        let after = |n: u64| Some(Limit::After(s(n)));
        for (limits, said, want, header) in [
            (listens(after(3), None, 0), Some("9S"), Some(s(3)), Some("3000m")),
            (listens(after(3), after(10), 0), None, Some(s(3)), Some("3000m")),
            (listens(None, after(10), 0), None, Some(s(7)), Some("7000m")),
            (listens(None, after(10), 0), Some("x"), Some(s(7)), Some("7000m")),
            (listens(Some(Limit::Off), None, 0), Some("9S"), None, None),
            (listens(after(3), after(10), 0), Some("9S"), Some(s(9)), Some("9000m")),
            (listens(after(3), after(10), 0), Some("11S"), Some(s(10)), Some("10000m")),
            (listens(None, Some(Limit::Off), 2), Some("11S"), Some(s(9)), Some("9000m")),
            (listens(None, Some(Limit::Off), 20), Some("11S"), Some(s(0)), Some("0m")),
        ] {
            let mut headers = HeaderMap::default();
            headers.append(Known::Path, b"/p.S/m");
            if let Some(said) = said {
                headers.append(Known::GrpcTimeout, said.as_bytes());
            }
            let mut plain = headers.clone();
            headers.append(Known::ContentType, b"application/grpc");
            assert_eq!(duration(&limits, Some(s(7)), &mut headers), want, "{limits:?} {said:?}");
            assert_eq!(headers.get(Known::GrpcTimeout), header.map(str::as_bytes), "{limits:?} {said:?}");
            duration(&limits, Some(s(7)), &mut plain);
            assert_eq!(plain.get(Known::GrpcTimeout), said.map(str::as_bytes), "others are not touched");
        }
    }
}
