//! `RedirectPolicy`: the answer comes of another request, which is made of the client's.

use super::super::frame::cluster_of;
use nuncio_codec::head::{Known, RequestHead, ResponseHead};
use nuncio_core::config::CompileContext;
use nuncio_core::format::FormatContext;
use nuncio_core::header::{HeaderMutations, MutationFields};
use nuncio_core::stream_info::{FilterState, StreamInfo};
use nuncio_downstream::filter::{Flow, Response};
use nuncio_downstream::hcm::stream::header_context;
use nuncio_downstream::route::{Found, MatchContext, PeerCertificate, RedirectAction, Route, RouteTable};
use nuncio_downstream::router::target;
use nuncio_downstream::world::World;
use nuncio_proto::pb::envoy::config::route::v3::redirect_action::PathRewriteSpecifier;
use nuncio_proto::pb::envoy::extensions::http::custom_response::redirect_policy::v3 as pb;
use pb::redirect_policy::RedirectActionSpecifier;
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

nuncio_core::stats_block! {
    /// What redirects count that come to nothing, below `http.PREFIX.`.
    pub(super) struct RedirectStats {
        counter custom_response_invalid_uri,
        counter custom_response_redirect_no_route,
    }
}

/// A compiled `RedirectPolicy`.
#[derive(Debug)]
pub(super) struct Redirect {
    to: To,
    /// `None`: that of the answer whose place is taken.
    status: Option<u16>,
    request_headers: HeaderMutations,
    response_headers: HeaderMutations,
}

/// Where it leads.
#[derive(Debug)]
enum To {
    Uri(Box<str>),
    Action(Box<RedirectAction>),
}

/// The name of the filter state by which the next request's answer is known.
const FOLLOWED: &str = "envoy.filters.http.custom_response";

/// The stream is an answer's: which policy led here, and the status that the client would have seen.
#[derive(Debug)]
struct Followed {
    policy: Arc<Redirect>,
    status: u16,
}

impl FilterState for Followed {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn serialize(&self) -> Option<String> {
        None
    }

    fn outlives_redirects(&self) -> bool {
        true
    }
}

impl Redirect {
    pub(super) fn compile(message: pb::RedirectPolicy, cx: &CompileContext<'_>) -> Option<Arc<Self>> {
        let pb::RedirectPolicy {
            status_code,
            response_headers_to_add,
            request_headers_to_add,
            modify_request_headers_action,
            redirect_action_specifier,
        } = message;
        if let Some(action) = modify_request_headers_action {
            // As in Envoy there is none.
            let url = action.typed_config.unwrap_or_default().type_url;
            let name = action.name;
            cx.field("modify_request_headers_action").error(format!(
                "Didn't find a registered implementation for '{name}' with type URL: '{url}'"
            ));
            return None;
        }
        let headers = |list: &[_], field| {
            HeaderMutations::compile(list, &[], cx, MutationFields { add: field, remove: "" })
        };
        Some(Arc::new(Self {
            to: To::compile(redirect_action_specifier?, cx)?,
            status: status_code.and_then(|status| u16::try_from(status).ok()),
            request_headers: headers(&request_headers_to_add, "request_headers_to_add")?,
            response_headers: headers(&response_headers_to_add, "response_headers_to_add")?,
        }))
    }

    /// Makes the policy's request of the one that `response` answers. Where that cannot be, the answer goes on.
    pub(super) fn follow(
        self: &Arc<Self>,
        response: &mut Response<'_>,
        table: &RouteTable,
        world: &World,
        stats: &RedirectStats,
    ) -> Flow {
        let Response { head, request, info, .. } = response;
        let Some(next) = self.next_request(request, head, info, world) else {
            stats.custom_response_invalid_uri.inc();
            return Flow::Continue;
        };
        let context = MatchContext {
            info,
            runtime: &world.runtime,
            peer_certificate: PeerCertificate::of(&info.connection),
            counts: true,
        };
        let Found::Route(route) = table.find(&next, &context) else {
            stats.custom_response_redirect_no_route.inc();
            // The log tells of no route any more.
            Route::tell(None, info);
            info.upstream.cluster = None;
            return Flow::Continue;
        };
        **request = next;
        Route::tell(Some(route), info);
        info.upstream.cluster = cluster_of(world, route, request).map(|cluster| Rc::clone(cluster.info()));
        let followed = Followed { policy: Arc::clone(self), status: head.status };
        info.set_filter_state(FOLLOWED, Rc::new(followed));
        // What is still to come of the body has nowhere to go: then, as in Envoy, the answer goes on.
        if info.timings.downstream_rx_end.is_some() { Flow::Again } else { Flow::Continue }
    }

    /// `None`: what the action makes of the request is no URL.
    fn next_request(
        &self,
        request: &RequestHead,
        response: &ResponseHead,
        info: &StreamInfo,
        world: &World,
    ) -> Option<RequestHead> {
        let formats = || FormatContext {
            response: Some((&response.headers, response.status)),
            ..header_context(info, &world.worker, world.worker.now())
        };
        let mut url = Vec::new();
        let url = match &self.to {
            To::Uri(uri) => uri.as_bytes(),
            To::Action(action) => {
                action.write_location(request, formats, &mut url);
                &url
            }
        };
        let target = target(url)?;
        let mut next = request.clone();
        target.point(&mut next);
        next.headers.set(Known::Method, b"GET");
        next.headers.remove(Known::ContentLength);
        self.request_headers.apply_request(&mut next, &formats());
        Some(next)
    }
}

impl To {
    fn compile(message: RedirectActionSpecifier, cx: &CompileContext<'_>) -> Option<Self> {
        let mut action = match message {
            RedirectActionSpecifier::Uri(uri) if target(uri.as_bytes()).is_none() => {
                cx.field("uri")
                    .error(format!("Invalid uri specified for redirection for custom response: {uri}"));
                return None;
            }
            RedirectActionSpecifier::Uri(uri) => return Some(Self::Uri(uri.into())),
            RedirectActionSpecifier::RedirectAction(action) => action,
        };
        // As in Envoy it is read for routes alone.
        action.path_rewrite_specifier.take_if(|path| matches!(path, PathRewriteSpecifier::PathRewrite(_)));
        let cx = cx.field("redirect_action");
        let refuse = |field: &str, text: String| {
            cx.field(field).error(text);
            None
        };
        match &action.path_rewrite_specifier {
            Some(PathRewriteSpecifier::PrefixRewrite(_)) => {
                refuse("prefix_rewrite", "prefix_rewrite is not supported for Custom Response".into())
            }
            Some(PathRewriteSpecifier::RegexRewrite(_)) => {
                refuse("regex_rewrite", "regex_rewrite is not supported for Custom Response".into())
            }
            Some(PathRewriteSpecifier::PathRedirect(path)) if path.contains('#') => refuse(
                "path_redirect",
                format!("#fragment is not supported for custom response. Specified path_redirect is {path}"),
            ),
            Some(PathRewriteSpecifier::PathRedirect(_) | PathRewriteSpecifier::PathRewrite(_)) | None => {
                RedirectAction::compile(action, &cx).map(|action| Self::Action(Box::new(action)))
            }
        }
    }
}

/// Where the stream is a policy's request, makes the policy's changes to its answer.
pub(super) fn finish(response: &mut Response<'_>, world: &World) -> bool {
    let Some(state) = response.info.filter_state(FOLLOWED) else { return false };
    let Some(Followed { policy, status }) = state.as_any().downcast_ref() else { return false };
    let Response { head, request, info, .. } = response;
    let formats = FormatContext {
        request: Some(&request.headers),
        ..header_context(info, &world.worker, world.worker.now())
    };
    policy.response_headers.apply_response(head, &formats);
    head.status = policy.status.unwrap_or(*status);
    info.response_code = Some(head.status);
    true
}
