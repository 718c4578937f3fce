//! The admin port's HTTP side: requests in, answers with Envoy's headers out.

use super::Admin;
use super::request::{Request, Response, parameters};
use nuncio_codec::head::{Known, RequestHead, ResponseHead};
use nuncio_downstream::hcm::answer::{Answer, Responder};

/// `%RESPONSE_CODE_DETAILS%` of every answer.
const DETAILS: &str = "admin_filter_response";

impl Responder for Admin {
    fn respond(&self, head: &RequestHead, body: &[u8]) -> Answer {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let target = text(head.path());
        let Response { status, content_type, body } = if self.allows(&target) {
            let mut request = Request::new(&text(head.method()), &target);
            request.accept = head.headers.get(Known::Accept).map(text).unwrap_or_default();
            let form = head.headers.get(Known::ContentType);
            if form.is_some_and(|v| v.starts_with(b"application/x-www-form-urlencoded")) {
                request.form = parameters(&text(body));
            }
            self.answer(&request)
        } else {
            tracing::info!(target: "admin", "Request to admin interface path {target} is not allowed");
            Response::error(403, format!("request to path {target} not allowed"))
        };
        let mut head = ResponseHead::new(status);
        for (name, value) in [
            ("content-type", content_type),
            ("cache-control", "no-cache, max-age=0"),
            ("x-content-type-options", "nosniff"),
        ] {
            head.headers.append(name, value.as_bytes());
        }
        Answer { head, body: body.pieces(), details: DETAILS }
    }
}

impl Admin {
    /// `allow_paths`: the whole target has to match one of them, where there are any.
    fn allows(&self, target: &str) -> bool {
        self.allow_paths.is_empty() || self.allow_paths.iter().any(|m| m.matches(target.as_bytes()))
    }
}
