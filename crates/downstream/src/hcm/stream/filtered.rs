//! A stream whose filters have a say: heads that wait in them, and bodies that go through them.

use super::{End, Stream};
use crate::filter::{Instead, LaneEvent, Parts, Verdict};
use crate::hcm::deadlines::Timeout;
use crate::hcm::exchange::{Downstream, DownstreamError, RequestEvent};
use crate::hcm::local_reply::LocalReply;
use nuncio_codec::head::Version;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

/// What came of a request among the filters.
pub(super) enum Filtered {
    /// It is through.
    Through,
    /// A filter answers.
    Reply(LocalReply),
    /// A filter answers when the whole request has come.
    ReplyAtEnd(LocalReply),
    /// A filter has the stream begin anew.
    Again,
    /// A timer ran out while one of them waited.
    Timeout(Timeout),
    /// The client went meanwhile.
    Downstream(DownstreamError),
}

impl<D: Downstream> Stream<D> {
    /// Whether the same holds for filters of the upstream's side, which no body has waited for.
    pub(crate) fn hands_on_ends_apart(&self) -> bool {
        self.ends_apart() && !self.filters_see_bodies() && self.info.upstream.attempts == 1
    }

    /// What filters see of it.
    pub(crate) fn parts(&mut self) -> Parts<'_> {
        let Self { heads, info, hcm, .. } = self;
        Parts { heads, info, tracer: hcm.tracer.as_ref() }
    }

    /// Whether bodies go through a filter.
    #[inline]
    pub fn filters_see_bodies(&self) -> bool {
        self.filters.as_ref().is_some_and(|chain| chain.sees_bodies())
    }

    /// Whether the request's last byte has come, if not through all filters.
    #[inline]
    pub fn request_received(&self) -> bool {
        self.request_complete || self.filters.as_ref().is_some_and(|chain| chain.is_received())
    }

    /// Whether a response is begun: its head was encoded, or is with a filter.
    #[inline]
    pub fn has_response(&self) -> bool {
        self.response_started || self.filters.as_ref().is_some_and(|chain| chain.has_response())
    }

    /// The bytes of the last [`RequestEvent::Data`].
    #[inline]
    pub fn data(&self) -> &[u8] {
        match &self.filters {
            Some(chain) if chain.sees_bodies() => chain.request_data(),
            _ => self.received(),
        }
    }

    /// Bytes of the response that wait for filters or the socket.
    #[inline]
    pub fn buffered(&self) -> usize {
        let waiting = self.down.buffered();
        match &self.filters {
            Some(chain) if chain.sees_bodies() => waiting + chain.held_back(),
            _ => waiting,
        }
    }

    /// Leads the request's head through the filters; `None` where none of them keeps it.
    #[inline]
    pub(super) fn enter_filters(&mut self) -> Option<Verdict> {
        let end_stream = self.request_complete;
        let Self { filters: Some(chain), heads, info, hcm, .. } = self else { return None };
        let verdict = chain.start_request(Parts { heads, info, tracer: hcm.tracer.as_ref() }, end_stream);
        if !matches!(verdict, Verdict::Going) || !chain.request().is_through() {
            return Some(verdict);
        }
        if chain.sees_bodies() {
            chain.ask_again();
        }
        None
    }

    /// A filter has said this of the request's head. While one of them waits, the client and the timers are
    /// watched, and as much of the body is read as it wants.
    pub(super) async fn stay_in_filters(&mut self, mut verdict: Verdict) -> Filtered {
        let mut waited = false;
        loop {
            match verdict {
                Verdict::Going => {}
                Verdict::ReplyAtEnd(reply) => return Filtered::ReplyAtEnd(reply),
                Verdict::Again => return Filtered::Again,
                Verdict::Reply(reply) => {
                    if waited {
                        self.discard_what_came().await;
                    }
                    return Filtered::Reply(reply);
                }
            }
            if self.filters.as_mut().is_none_or(|chain| chain.request().is_through()) {
                break;
            }
            waited = true;
            match poll_fn(|cx| self.poll_waiting(cx)).await {
                Ok(next) => verdict = next,
                Err(end) => return end,
            }
        }
        self.down.gather_metadata();
        if self.filters_see_bodies() {
            self.request_came_out(self.filters.as_ref().is_some_and(|chain| chain.request_is_finished()));
        }
        Filtered::Through
    }

    /// A filter has the request's head.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<Verdict, Filtered>> {
        let Self { filters: Some(chain), heads, info, hcm, .. } = self else { return Poll::Pending };
        if let Poll::Ready(verdict) =
            chain.poll_request(Parts { heads, info, tracer: hcm.tracer.as_ref() }, cx)
        {
            return Poll::Ready(Ok(verdict));
        }
        let reads = chain.sees_bodies() && chain.request().wants_data();
        if let Poll::Ready(timeout) = self.poll_timers(cx) {
            return Poll::Ready(Err(Filtered::Timeout(timeout)));
        }
        if !reads {
            return self.down.poll_disconnect(cx).map(|error| Err(Filtered::Downstream(error)));
        }
        Poll::Ready(match ready!(self.receive(cx)) {
            Ok(event) => Ok(self.push_request(event)),
            Err(error) => Err(Filtered::Downstream(error)),
        })
    }

    fn push_request(&mut self, event: RequestEvent) -> Verdict {
        let apart = self.ends_apart();
        let Self { filters: Some(chain), heads, info, hcm, down, again, .. } = self else {
            return Verdict::Going;
        };
        let tracer = hcm.tracer.as_ref();
        let data = match (event, again) {
            (RequestEvent::Data { .. }, Some(again)) => &*again.body,
            (RequestEvent::Data { .. }, None) => down.data(),
            (RequestEvent::Metadata | RequestEvent::Trailers | RequestEvent::End, _) => &[],
        };
        if event == (RequestEvent::Data { end_stream: true }) && apart && !data.is_empty() {
            let parts = Parts { heads: &mut *heads, info: &mut *info, tracer };
            let piece = RequestEvent::Data { end_stream: false };
            match chain.push_request(parts, piece, data) {
                Verdict::Going => {}
                verdict => return verdict,
            }
            return chain.push_request(Parts { heads, info, tracer }, RequestEvent::End, &[]);
        }
        chain.push_request(Parts { heads, info, tracer }, event, data)
    }

    /// Whether the end of the request is told apart from its last bytes, as Envoy's HTTP/1 codec does: filters see it.
    fn ends_apart(&self) -> bool {
        self.again.is_none() && self.info.protocol != Some(Version::Http2)
    }

    /// Takes in what has come of a body that nobody wants, so that a request that is complete counts as such.
    async fn discard_what_came(&mut self) {
        poll_fn(|cx| {
            while !self.request_received() && matches!(self.receive(cx), Poll::Ready(Ok(_))) {}
            Poll::Ready(())
        })
        .await;
    }

    /// Answers once the request is complete; its body is thrown away.
    pub(super) async fn reply_at_end(&mut self, reply: LocalReply) -> End {
        while !self.request_received() {
            let event = poll_fn(|cx| match self.poll_timers(cx) {
                Poll::Ready(timeout) => Poll::Ready(Err(timeout)),
                Poll::Pending => self.receive(cx).map(Ok),
            })
            .await;
            match event {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return self.downstream_failed(error).await,
                Err(timeout) => return self.timed_out(timeout).await,
            }
        }
        self.reply(reply).await
    }

    /// The request's end has passed all filters, where it has.
    fn request_came_out(&mut self, complete: bool) {
        if complete {
            self.request_complete = true;
            self.deadlines.request_complete(self.now());
        }
    }

    /// The next piece of the request that has come through the filters.
    #[cold]
    pub(super) fn poll_filtered_request(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<RequestEvent, DownstreamError>> {
        loop {
            let Some(chain) = &mut self.filters else { return Poll::Pending };
            if let Some(event) = chain.request().take_event() {
                self.request_came_out(!matches!(event, LaneEvent::Data { end_stream: false }));
                return Poll::Ready(Ok(match event {
                    LaneEvent::Data { end_stream } => RequestEvent::Data { end_stream },
                    LaneEvent::Trailers => RequestEvent::Trailers,
                }));
            }
            if !chain.wants_request() {
                return self.down.poll_disconnect(cx).map(Err);
            }
            let event = ready!(self.receive(cx))?;
            if event == RequestEvent::Metadata {
                // No filter looks at it.
                return Poll::Ready(Ok(event));
            }
            let verdict = self.push_request(event);
            if let Some(chain) = &mut self.filters {
                chain.keep(verdict);
            }
        }
    }

    /// Leads a response's head through the filters, and encodes it where none of them keeps it.
    ///
    /// # Errors
    /// A filter puts something in the response's stead.
    #[inline]
    pub fn respond(&mut self, end_stream: bool) -> Result<(), Instead> {
        let Self { filters: Some(chain), heads, info, hcm, .. } = self else {
            self.start_response(end_stream);
            return Ok(());
        };
        if chain.lets_responses_pass() {
            self.start_response(end_stream);
            return Ok(());
        }
        if let Some(instead) =
            chain.start_response(Parts { heads, info, tracer: hcm.tracer.as_ref() }, end_stream).instead()
        {
            return Err(instead);
        }
        if chain.response().is_through() {
            let bare = chain.response().is_finished();
            if chain.sees_bodies() && self.request_complete {
                chain.ask_again();
            }
            self.start_response(bare);
        }
        Ok(())
    }

    /// The same for the filters. An end that comes from an HTTP/1 codec is told apart, as that of requests.
    #[cold]
    pub(super) fn send_filtered_body(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
        let protocol = self.info.upstream.connection.as_ref().and_then(|connection| connection.protocol);
        if end_stream && !data.is_empty() && protocol != Some(Version::Http2) {
            self.send_filtered(cx, data, false);
            self.send_filtered(cx, &[], true);
        } else {
            self.send_filtered(cx, data, end_stream);
        }
    }

    /// Body bytes of the response, into the filters.
    #[cold]
    pub(super) fn send_filtered(&mut self, cx: &mut Context<'_>, data: &[u8], end_stream: bool) {
        let Self { filters: Some(chain), heads, info, hcm, .. } = self else { return };
        let verdict =
            chain.push_response(Parts { heads, info, tracer: hcm.tracer.as_ref() }, data, end_stream);
        chain.keep(verdict);
        self.deliver(cx);
    }

    /// The response's trailers, which stand in the heads.
    pub fn send_trailers(&mut self, cx: &mut Context<'_>) {
        if !self.filters_see_bodies() {
            self.down.encode_trailers(&self.heads.response_trailers);
            return;
        }
        let Self { filters: Some(chain), heads, info, hcm, .. } = self else { return };
        let verdict = chain.push_response_trailers(Parts { heads, info, tracer: hcm.tracer.as_ref() });
        chain.keep(verdict);
        self.deliver(cx);
    }

    /// Lets filters go on that wait for something of their own; ready where one did, with what it puts in the response's
    /// stead, where it does.
    #[cold]
    pub fn poll_filters(&mut self, cx: &mut Context<'_>) -> Poll<Option<Instead>> {
        let Self { filters: Some(chain), heads, info, hcm, .. } = self else { return Poll::Pending };
        let mut moved = false;
        for polled in [
            chain.poll_request(
                Parts { heads: &mut *heads, info: &mut *info, tracer: hcm.tracer.as_ref() },
                cx,
            ),
            chain.poll_response(Parts { heads, info, tracer: hcm.tracer.as_ref() }, cx),
        ] {
            if let Poll::Ready(verdict) = polled {
                chain.keep(verdict);
                moved = true;
            }
        }
        if let Some(instead) = chain.take_kept() {
            return Poll::Ready(Some(instead));
        }
        if !moved {
            return Poll::Pending;
        }
        self.deliver(cx);
        Poll::Ready(None)
    }

    /// Encodes what of the response has come through the filters.
    fn deliver(&mut self, cx: &mut Context<'_>) {
        let Some(chain) = &mut self.filters else { return };
        if !chain.response().is_through() {
            return;
        }
        if !self.response_started {
            let bare = chain.response().is_finished();
            self.start_response(bare);
        }
        let Self { filters: Some(chain), heads, info, down, .. } = self else { return };
        while let Some(event) = chain.response().take_event() {
            match event {
                LaneEvent::Data { end_stream } => {
                    let data = chain.response().data();
                    info.bytes_sent += data.len() as u64;
                    down.encode_data(cx, data, end_stream);
                }
                LaneEvent::Trailers => down.encode_trailers(&heads.response_trailers),
            }
        }
    }

    /// Everything of the response is with the filters: waits until they have let it out, and sends it.
    ///
    /// # Errors
    /// A filter puts something in the response's stead.
    pub async fn settle(&mut self) -> Result<End, Instead> {
        if self.filters_see_bodies()
            && let Some(early) = poll_fn(|cx| self.poll_let_out(cx)).await
        {
            return early;
        }
        Ok(self.flush().await)
    }

    /// Ready with nothing once the filters have let everything out.
    #[cold]
    fn poll_let_out(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<End, Instead>>> {
        while let Poll::Ready(instead) = self.poll_filters(cx) {
            if let Some(instead) = instead {
                return Poll::Ready(Some(Err(instead)));
            }
        }
        if self.filters.as_mut().is_none_or(|chain| chain.response().is_finished()) {
            return Poll::Ready(None);
        }
        match self.down.poll_flush(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(Some(Ok(self.gone(error)))),
            Poll::Ready(Ok(())) => {
                if let Poll::Ready(error) = self.down.poll_disconnect(cx) {
                    return Poll::Ready(Some(Ok(self.gone(error))));
                }
            }
            Poll::Pending => {}
        }
        self.poll_timers(cx).map(|_| Some(Ok(End::Reset)))
    }
}
