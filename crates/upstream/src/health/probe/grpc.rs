//! `grpc_health_check`: `grpc.health.v1.Health/Check`.

use super::http2::Http2;
use super::{Connection, Exchanged, Gone, Judge, Probe};
use crate::health::config::GrpcCheck;
use crate::health::session::{FailureKind, Verdict};
use nuncio_codec::head::{HeaderMap, Known, RequestHead, ResponseHead, Version};
use nuncio_core::format::is_grpc;
use prost::Message;
use std::time::Duration;

/// The length of a message's head: its flag, and how long it is.
const HEAD: usize = 5;

/// A longer answer is none.
const MAX_MESSAGE: usize = 64 << 10;

/// `HealthCheckResponse.ServingStatus.SERVING`
const SERVING: i32 = 1;

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl Probe<'_> {
    pub(super) async fn grpc(&mut self, check: &GrpcCheck) -> Result<Exchanged, Gone> {
        if self.connection.is_none() {
            let (stream, _) = self.dialer.open(self.host, self.config).await?;
            self.connection = Some(Connection::Http2(Box::new(Http2::new(stream, self.dialer))));
        }
        let mut head = RequestHead::new();
        head.headers.append(Known::Method, b"POST");
        head.headers.append(Known::Path, b"/grpc.health.v1.Health/Check");
        head.headers.append(Known::Authority, self.authority(&check.authority).as_bytes());
        head.headers.append(Known::Te, b"trailers");
        head.headers.append(Known::ContentType, b"application/grpc");
        self.complete(&mut head, Version::Http2, &check.metadata);
        head.headers.set("grpc-timeout", grpc_timeout(self.config.timeout).as_bytes());
        let Some(Connection::Http2(http2)) = &mut self.connection else { return Err(Gone) };
        http2.exchange(&head, &check.message, &mut GrpcJudge::default()).await
    }
}

/// A time as gRPC writes it: eight digits at most, in the smallest unit that does.
fn grpc_timeout(timeout: Duration) -> String {
    let ms = timeout.as_millis();
    [(1, "m"), (1000, "S"), (60_000, "M"), (3_600_000, "H")]
        .into_iter()
        .find(|(unit, _)| ms / unit <= 99_999_999)
        .map_or_else(|| "99999999H".to_owned(), |(unit, name)| format!("{}{name}", ms / unit))
}

/// What has come of the answer.
#[derive(Default)]
struct GrpcJudge {
    input: Vec<u8>,
    answer: Option<HealthCheckResponse>,
}

const BAD: Verdict = Verdict::Bad(crate::health::session::Failure {
    kind: FailureKind::Active,
    retriable: false,
    status: 0,
    leaving: false,
});

impl Judge for GrpcJudge {
    fn head(&mut self, head: &ResponseHead, end_stream: bool) -> Option<Verdict> {
        // A head alone never says that all is well: there is no message.
        let wrong = end_stream || head.status != 200 || !is_grpc(&head.headers);
        wrong.then_some(BAD)
    }

    fn data(&mut self, data: &[u8], end_stream: bool) -> Option<Verdict> {
        if end_stream {
            return Some(BAD);
        }
        self.input.extend_from_slice(data);
        loop {
            let (head, rest) = self.input.split_at_checked(HEAD)?;
            let &[flag, a, b, c, d] = head else { return None };
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            if flag > 1 || len > MAX_MESSAGE {
                return Some(BAD);
            }
            let message = rest.get(..len)?;
            if len > 0 {
                let decoded = HealthCheckResponse::decode(message).ok().filter(|_| flag == 0);
                // The call has one answer.
                if decoded.is_none() || self.answer.is_some() {
                    return Some(BAD);
                }
                self.answer = decoded;
            }
            self.input.drain(..HEAD + len);
        }
    }

    fn trailers(&mut self, trailers: &HeaderMap) -> Option<Verdict> {
        let well = trailers.get("grpc-status") == Some(b"0")
            && self.answer.is_some_and(|answer| answer.status == SERVING);
        Some(if well { Verdict::Good { degraded: false } } else { BAD })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_eight_digits_at_most() {
        for (ms, text) in [
            (400, "400m"),
            (99_999_999, "99999999m"),
            (100_000_000, "100000S"),
            (100_000_000_000, "1666666M"),
        ] {
            assert_eq!(grpc_timeout(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn a_message_counts_however_it_comes_and_only_once() {
        let serving = [0, 0, 0, 0, 2, 8, 1];
        let mut pieces = GrpcJudge::default();
        assert!(serving.iter().all(|byte| pieces.data(&[*byte], false).is_none()));
        let mut trailers = HeaderMap::new();
        trailers.append("grpc-status", b"0");
        assert_eq!(pieces.trailers(&trailers), Some(Verdict::Good { degraded: false }));
        let mut twice = GrpcJudge::default();
        assert_eq!(twice.data(&[&serving[..], &serving].concat(), false), Some(BAD));
        let mut endless = GrpcJudge::default();
        assert_eq!(endless.data(&[0, 255, 0, 0, 0], false), Some(BAD));
    }
}
