//! The client of a request that nobody sent.

use super::{Fact, Script, Verdict, at_once};
use crate::hcm::Hcm;
use crate::hcm::exchange::{Downstream, DownstreamError, RequestEvent};
use crate::hcm::stream::{self, StreamStart};
use nuncio_codec::h2::Metadata;
use nuncio_codec::head::{HeaderMap, RequestHead, ResponseHead, Version};
use nuncio_core::stream_info::{ByteCounts, ConnectionInfo};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// The downstream half of a rehearsed stream: its body is there, and its answer is kept.
pub(super) struct Rehearsal {
    script: Rc<Script>,
    body: Vec<u8>,
    read: bool,
}

impl Downstream for Rehearsal {
    fn poll_request(
        &mut self,
        _: &mut Context<'_>,
        _: &mut HeaderMap,
    ) -> Poll<Result<RequestEvent, DownstreamError>> {
        if std::mem::replace(&mut self.read, true) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(RequestEvent::Data { end_stream: true }))
    }

    fn data(&self) -> &[u8] {
        &self.body
    }

    fn poll_disconnect(&mut self, _: &mut Context<'_>) -> Poll<DownstreamError> {
        Poll::Pending
    }

    fn encode_metadata(&mut self, _: &Metadata) -> bool {
        true
    }

    fn encode_informational(&mut self, _: &ResponseHead) {}

    fn encode_head(&mut self, head: &ResponseHead, _: bool) {
        self.script.answered(head);
    }

    fn encode_data(&mut self, _: &mut Context<'_>, _: &[u8], _: bool) {}

    fn encode_trailers(&mut self, _: &HeaderMap) {}

    fn buffered(&self) -> usize {
        0
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DownstreamError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_timer(&mut self, _: &mut Context<'_>, _: Instant, _: Option<Instant>) -> Poll<()> {
        Poll::Pending
    }

    fn close_after(&mut self) {}

    fn begin_drain(&mut self, _: Instant) -> bool {
        false
    }

    fn draining(&self) -> bool {
        false
    }

    fn connection_header(&self) -> Option<&'static [u8]> {
        None
    }

    fn bytes(&self) -> ByteCounts {
        ByteCounts::default()
    }

    fn script(&self) -> Option<&Rc<Script>> {
        Some(&self.script)
    }
}

/// How a rehearsed stream ended.
pub(super) enum Ended {
    /// The host is known.
    Forwarded,
    /// The proxy has answered; details and flags as the log would tell them.
    Answered { details: String, flags: String },
    /// It waits, where a filter does this one.
    Waits(Option<Arc<str>>),
}

impl Ended {
    pub(super) fn verdict(self, answer: Option<ResponseHead>) -> (Verdict, Vec<Fact>) {
        match (self, answer) {
            (Self::Forwarded, _) => (Verdict::Forwarded, Vec::new()),
            (Self::Answered { details, flags }, Some(head)) => {
                let mut facts = vec![Fact::new("status", head.status.to_string(), None)];
                facts.push(Fact::new("response_code_details", details, None));
                if !flags.is_empty() {
                    facts.push(Fact::new("response_flags", flags, None));
                }
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                facts.extend(head.headers.get("location").map(|at| Fact::new("location", text(at), None)));
                (Verdict::Answered(head.status), facts)
            }
            (Self::Answered { details, .. }, None) => (Verdict::Closed(details), Vec::new()),
            (Self::Waits(_), _) => {
                (Verdict::Undecided("it waits for more than is rehearsed".into()), Vec::new())
            }
        }
    }
}

/// Leads a request through a connection manager up to the host that would serve it, or to the answer.
pub(super) fn rehearse(
    hcm: &Rc<Hcm>,
    script: &Rc<Script>,
    connection: &Rc<ConnectionInfo>,
    head: RequestHead,
    version: Version,
    body: Option<&[u8]>,
) -> Ended {
    let mut heads = hcm.take_heads();
    heads.request = head;
    heads.request.version = version;
    script.stage("", None, &heads.request);
    let down = Rehearsal {
        script: Rc::clone(script),
        body: body.map(<[u8]>::to_vec).unwrap_or_default(),
        read: body.is_none(),
    };
    let start = StreamStart {
        down,
        heads,
        end_stream: body.is_none(),
        started: hcm.world.worker.now(),
        connection: Rc::clone(connection),
        hcm: Rc::clone(hcm),
        bad: None,
    };
    let mut stream = stream::Stream::new(start);
    if at_once(stream.serve()).is_none() {
        return Ended::Waits(stream.waits_in().and_then(|at| {
            let (chain, route) = script.chain_and_route();
            hcm.name_of_filter(chain, route.as_ref(), at)
        }));
    }
    if script.is_forwarded() {
        return Ended::Forwarded;
    }
    let flags: Vec<&str> = stream.info.flags.iter().map(|flag| flag.short()).collect();
    Ended::Answered {
        details: stream.info.details.as_deref().unwrap_or_default().to_owned(),
        flags: flags.join(","),
    }
}
