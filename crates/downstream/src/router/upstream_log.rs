//! `upstream_log`: one entry for each attempt, of what happened on the upstream's side alone.

use crate::hcm::stream::{Stream, header_context};
use crate::world::World;
use nuncio_codec::head::{RequestHead, ResponseHead};
use nuncio_core::access_log::{AccessLog, AccessLogFactories};
use nuncio_core::config::{CompileContext, duration};
use nuncio_core::format::{FormatContext, LogType};
use nuncio_core::stream_info::{ClusterInfo, ResponseFlag, StreamInfo, UpstreamConnectionInfo};
use nuncio_proto::pb::envoy::config::accesslog::v3 as pb;
use nuncio_proto::pb::envoy::extensions::filters::http::router::v3::router::UpstreamAccessLogOptions;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The router's `upstream_log` and `upstream_log_options`, compiled.
#[derive(Debug)]
pub struct UpstreamLog {
    logs: Vec<Arc<dyn AccessLog>>,
    /// `flush_upstream_log_on_upstream_stream`: an entry once an attempt has its connection, too.
    when_connected: bool,
    /// `upstream_log_flush_interval`: further entries while it lasts.
    interval: Option<Duration>,
}

impl UpstreamLog {
    /// `Some(None)` where there are no logs.
    #[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
    pub(super) fn compile(
        logs: &[pb::AccessLog],
        options: Option<UpstreamAccessLogOptions>,
        cx: &CompileContext<'_>,
        factories: &AccessLogFactories,
    ) -> Option<Option<Self>> {
        let UpstreamAccessLogOptions { flush_upstream_log_on_upstream_stream, upstream_log_flush_interval } =
            options.unwrap_or_default();
        let logs = factories.compile(logs, cx, "upstream_log");
        let cx = cx.field("upstream_log_options");
        let interval = match upstream_log_flush_interval {
            None => None,
            Some(interval) => Some(duration(&interval, &cx.field("upstream_log_flush_interval"))?),
        };
        let (logs, when_connected) = (logs?, flush_upstream_log_on_upstream_stream);
        Some((!logs.is_empty()).then_some(Self { logs, when_connected, interval }))
    }

    /// Whether entries are written while an attempt lasts.
    pub(super) fn is_periodic(&self) -> bool {
        self.interval.is_some()
    }
}

/// What the logs tell of one attempt; the last entry is written when it is dropped.
pub(super) struct AttemptLog {
    to: Arc<UpstreamLog>,
    world: Rc<World>,
    info: StreamInfo,
    request: RequestHead,
    response: Option<ResponseHead>,
    /// When the next entry is due.
    pub(super) next: Option<Instant>,
}

impl AttemptLog {
    /// An attempt begins at the host that the stream names.
    pub(super) fn begin<D>(
        to: &Arc<UpstreamLog>,
        stream: &Stream<D>,
        cluster: &Rc<ClusterInfo>,
    ) -> Box<Self> {
        let (world, of) = (Rc::clone(&stream.hcm.world), &stream.info);
        let now = world.worker.now();
        let mut info = StreamInfo::new(now, world.worker.wall(), Rc::clone(&of.connection), of.random);
        info.remote = of.remote.clone();
        info.route_name.clone_from(&of.route_name);
        info.route_metadata.clone_from(&of.route_metadata);
        info.virtual_host_metadata.clone_from(&of.virtual_host_metadata);
        info.state.clone_from(&of.state);
        info.upstream.cluster = Some(Rc::clone(cluster));
        info.upstream.host.clone_from(&of.upstream.host);
        let next = to.interval.and_then(|interval| now.checked_add(interval));
        let request = stream.heads.request.clone();
        Box::new(Self { to: Arc::clone(to), world, info, request, response: None, next })
    }

    /// It has a connection, and the head of the request goes out as it is now.
    pub(super) fn connected(&mut self, connection: &Rc<UpstreamConnectionInfo>, request: &RequestHead) {
        self.info.protocol = connection.protocol;
        self.info.upstream.connection = Some(Rc::clone(connection));
        self.going(request);
        if self.to.when_connected {
            self.write(LogType::UpstreamPoolReady);
        }
    }

    /// The head of the request, as the filters of the upstream's side have made it.
    pub(super) fn going(&mut self, request: &RequestHead) {
        self.request.clone_from(request);
    }

    /// The head of its response came.
    pub(super) fn answered(&mut self, response: &ResponseHead) {
        self.info.response_code = Some(response.status);
        self.response = Some(response.clone());
    }

    /// It ended without a response.
    pub(super) fn failed(&mut self, flag: Option<ResponseFlag>) {
        flag.into_iter().for_each(|flag| self.info.flags.set(flag));
    }

    /// So many bytes of the response's body came.
    pub(super) fn received(&mut self, bytes: usize) {
        self.info.bytes_received += bytes as u64;
    }

    /// So many bytes of the request's body went out.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.info.bytes_sent += bytes;
    }

    /// An interval is over.
    pub(super) fn tick(&mut self, now: Instant) {
        self.next = self.to.interval.and_then(|interval| now.checked_add(interval));
        self.write(LogType::UpstreamPeriodic);
    }

    fn write(&self, log_type: LogType) {
        let worker = &self.world.worker;
        let context = FormatContext {
            request: Some(&self.request.headers),
            response: self.response.as_ref().map(|head| (&head.headers, head.status)),
            log_type,
            ..header_context(&self.info, worker, worker.now())
        };
        for log in &self.to.logs {
            log.log(&context, worker.id() as usize);
        }
    }
}

impl Drop for AttemptLog {
    fn drop(&mut self) {
        self.info.timings.complete = Some(self.world.worker.now());
        self.write(LogType::UpstreamEnd);
    }
}
