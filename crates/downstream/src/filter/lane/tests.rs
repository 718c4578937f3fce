//! Messages through toy filters, in both directions.

use super::*;
use crate::hcm::stream::Heads;
use nuncio_core::stream_info::StreamInfo;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;

type Log = Rc<RefCell<Vec<String>>>;

/// What a toy does with a request's head and its body.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    /// Passes on, and writes capitals.
    Capitals,
    /// Keeps the head until the message is complete.
    Gathers,
    /// Keeps the head until it is polled for the second time.
    Waits(u8),
    /// Holds all data back, and gives it a byte per poll.
    Drips,
    /// Makes data of trailers.
    Swallows,
}

struct Toy {
    name: char,
    does: Does,
    kept: Vec<u8>,
    ended: bool,
    log: Log,
}

impl Toy {
    fn say(&self, what: &str) {
        self.log.borrow_mut().push(format!("{}:{what}", self.name));
    }

    fn head(&mut self, end_stream: bool) -> Flow {
        self.say(if end_stream { "head." } else { "head" });
        match self.does {
            Does::Gathers if !end_stream => Flow::Buffer,
            Does::Waits(_) => Flow::Wait,
            _ => Flow::Continue,
        }
    }

    fn data(&mut self, piece: &mut Piece) -> Flow {
        let text = String::from_utf8_lossy(&piece.data).into_owned();
        self.say(&format!("{text}{}", if piece.end_stream { "." } else { "" }));
        match self.does {
            Does::Capitals => piece.data.make_ascii_uppercase(),
            Does::Gathers if !piece.end_stream => return Flow::Buffer,
            Does::Drips => {
                self.kept.append(&mut piece.data);
                self.ended |= std::mem::take(&mut piece.end_stream);
            }
            _ => {}
        }
        Flow::Continue
    }

    fn trailers(&mut self, piece: &mut Piece) -> Flow {
        self.say("trailers");
        match self.does {
            Does::Drips if !self.kept.is_empty() => {
                self.ended = true;
                return Flow::Wait;
            }
            Does::Swallows => {
                piece.data.extend_from_slice(b"<trailers>");
                piece.end_stream = true;
            }
            _ => {}
        }
        Flow::Continue
    }

    fn poll(&mut self, piece: &mut Piece) -> Poll<Flow> {
        match &mut self.does {
            Does::Waits(0) => {
                self.does = Does::Swallows;
                return Poll::Ready(Flow::Continue);
            }
            Does::Waits(n) => *n -= 1,
            Does::Drips if !self.kept.is_empty() => {
                piece.data.push(self.kept.remove(0));
                piece.end_stream = self.ended && self.kept.is_empty();
                return Poll::Ready(Flow::Continue);
            }
            _ => {}
        }
        Poll::Pending
    }
}

impl HttpFilter for Toy {
    fn decode_headers(&mut self, _: &mut Request<'_>, end_stream: bool) -> Flow {
        self.head(end_stream)
    }

    fn decode_data(&mut self, _: &mut Request<'_>, piece: &mut Piece) -> Flow {
        self.data(piece)
    }

    fn decode_trailers(&mut self, _: &mut Request<'_>, piece: &mut Piece) -> Flow {
        self.trailers(piece)
    }

    fn poll_decode(&mut self, _: &mut Request<'_>, piece: &mut Piece, _: &mut Context<'_>) -> Poll<Flow> {
        self.poll(piece)
    }

    fn encode_headers(&mut self, _: &mut Response<'_>, end_stream: bool) -> Flow {
        self.head(end_stream)
    }

    fn encode_data(&mut self, _: &mut Response<'_>, piece: &mut Piece) -> Flow {
        self.data(piece)
    }

    fn encode_trailers(&mut self, _: &mut Response<'_>, piece: &mut Piece) -> Flow {
        self.trailers(piece)
    }

    fn poll_encode(&mut self, _: &mut Response<'_>, piece: &mut Piece, _: &mut Context<'_>) -> Poll<Flow> {
        self.poll(piece)
    }
}

/// What goes into a lane: `Head`, data, polls, and how the message ends.
enum In {
    Head,
    OnlyHead,
    Data(&'static str),
    Last(&'static str),
    Trailers,
    Poll,
}
use In::{Data, Head, Last, OnlyHead, Trailers};

/// Leads a message through toys a, b, c…; what they saw, and what came out.
fn lead<D: for<'a> Leads<'a>>(does: &[Does], input: &[In], limit: usize) -> (String, String) {
    let log = Log::default();
    let mut filters = Filters::new(does.len());
    for (number, (name, does)) in ('a'..).zip(does).enumerate() {
        filters.seat(number, |seat| {
            seat.fill(Toy { name, does: *does, kept: vec![], ended: false, log: Rc::clone(&log) });
            true
        });
    }
    let mut info = crate::route::tests::stream(0);
    let (mut heads, mut limit, mut reroute) = (Heads::default(), limit, false);
    let mut lane = Lane::<D>::default();
    let mut out = String::new();
    for piece in input {
        let message = &mut D::of(&mut heads, &mut info, &mut limit, &mut reroute);
        let verdict = match piece {
            Head => lane.start(&mut filters, message, false),
            OnlyHead => lane.start(&mut filters, message, true),
            Data(text) => lane.push(&mut filters, message, text.as_bytes(), false),
            Last(text) => lane.push(&mut filters, message, text.as_bytes(), true),
            Trailers => lane.push_trailers(&mut filters, message),
            In::Poll => {
                let mut cx = Context::from_waker(Waker::noop());
                match lane.poll(&mut filters, message, &mut cx) {
                    Poll::Ready(verdict) => verdict,
                    Poll::Pending => Verdict::Going,
                }
            }
        };
        if let Verdict::Reply(reply) | Verdict::ReplyAtEnd(reply) = verdict {
            out.push_str(&format!("reply {} ", reply.status));
            break;
        }
        if lane.is_through() && !out.contains("head") {
            out.push_str(if lane.is_finished() { "head. " } else { "head " });
        }
        while let Some(event) = lane.take_event() {
            match event {
                LaneEvent::Trailers => out.push_str("trailers "),
                LaneEvent::Data { end_stream } => {
                    out.push_str(&String::from_utf8_lossy(lane.data()));
                    out.push_str(if end_stream { ". " } else { " " });
                }
            }
        }
    }
    (log.borrow().join(" "), out.trim_end().to_owned())
}

/// A direction whose messages can be made of a stream's parts.
trait Leads<'a>: Direction {
    fn of(
        heads: &'a mut Heads,
        info: &'a mut StreamInfo,
        limit: &'a mut usize,
        reroute: &'a mut bool,
    ) -> Self::Message<'a>;
}

impl<'a> Leads<'a> for Decode {
    fn of(
        heads: &'a mut Heads,
        info: &'a mut StreamInfo,
        limit: &'a mut usize,
        reroute: &'a mut bool,
    ) -> Request<'a> {
        let Heads { request, request_trailers, .. } = heads;
        Request { head: request, trailers: request_trailers, info, limit, reroute, tracer: None }
    }
}

impl<'a> Leads<'a> for Encode {
    fn of(
        heads: &'a mut Heads,
        info: &'a mut StreamInfo,
        limit: &'a mut usize,
        _: &'a mut bool,
    ) -> Response<'a> {
        let Heads { request, response, response_trailers, .. } = heads;
        Response { head: response, trailers: response_trailers, request, info, limit }
    }
}

use Does::{Capitals, Drips, Gathers, Swallows, Waits};

#[test]
fn a_message_goes_down_the_list_and_up_again() {
    let input = [Head, Data("x"), Last("y")];
    let (log, out) = lead::<Decode>(&[Swallows, Capitals], &input, 9);
    assert_eq!((log.as_str(), out.as_str()), ("a:head b:head a:x b:x a:y. b:y.", "head X Y."));
    let (log, out) = lead::<Encode>(&[Swallows, Capitals], &input, 9);
    assert_eq!((log.as_str(), out.as_str()), ("b:head a:head b:x a:X b:y. a:Y.", "head X Y."));
    let (log, out) = lead::<Decode>(&[Gathers, Capitals], &[OnlyHead], 9);
    assert_eq!((log.as_str(), out.as_str()), ("a:head. b:head.", "head."));
}

#[test]
fn a_filter_that_gathers_sees_all_that_has_come_and_the_next_sees_it_once() {
    let (log, out) = lead::<Decode>(&[Capitals, Gathers, Swallows], &[Head, Data("x"), Last("y")], 9);
    assert_eq!(log, "a:head b:head a:x b:X a:y. b:XY. c:head c:XY.");
    assert_eq!(out, "head XY.");
    let (log, out) = lead::<Decode>(&[Gathers, Gathers], &[Head, Data("x"), Last("")], 9);
    assert_eq!((log.as_str(), out.as_str()), ("a:head a:x a:x. b:head b:x.", "head x."));
    let (_, out) = lead::<Encode>(&[Gathers], &[Head, Last("")], 9);
    assert_eq!(out, "head.", "a body of nothing is none");
}

#[test]
fn what_is_gathered_has_a_limit() {
    assert_eq!(lead::<Decode>(&[Gathers], &[Head, Data("1234"), Data("5")], 4).1, "reply 413");
    assert_eq!(lead::<Encode>(&[Gathers], &[Head, Data("1234"), Data("5")], 4).1, "reply 500");
    assert_eq!(lead::<Decode>(&[Gathers], &[Head, Data("1234"), Last("")], 4).1, "head 1234.");
}

#[test]
fn a_head_waits_until_its_filter_says_so() {
    let input = [Head, In::Poll, In::Poll, Last("x")];
    let (log, out) = lead::<Decode>(&[Capitals, Waits(1), Swallows], &input, 9);
    assert_eq!((log.as_str(), out.as_str()), ("a:head b:head c:head a:x. b:X. c:X.", "head X."));
}

#[test]
fn trailers_stay_behind_what_is_held_back() {
    let input = [Head, Data("xy"), Trailers, In::Poll, In::Poll];
    let (log, out) = lead::<Encode>(&[Capitals, Drips], &input, 9);
    assert_eq!(log, "b:head a:head b:xy b:trailers a:x a:y a:trailers");
    assert_eq!(out, "head XY trailers");
    let (_, out) = lead::<Encode>(&[Drips], &[Head, Last("xy"), In::Poll], 9);
    assert_eq!(out, "head xy.");
}

#[test]
fn trailers_may_become_data_and_wait_with_a_head_that_gathers() {
    let (log, out) = lead::<Encode>(&[Capitals, Swallows], &[Head, Data("x"), Trailers], 9);
    assert_eq!(log, "b:head a:head b:x a:x b:trailers a:<trailers>.");
    assert_eq!(out, "head X <TRAILERS>.");
    let (log, out) = lead::<Decode>(&[Gathers, Capitals], &[Head, Data("x"), Trailers], 9);
    assert_eq!(log, "a:head a:x a:trailers b:head b:x b:trailers");
    assert_eq!(out, "head X trailers");
}
