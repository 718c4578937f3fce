//! The admin port's HTTP side: requests in, answers with Envoy's headers out.

use super::Admin;
use super::request::{Request, Response, parameters};
use crate::http::{Asked, Reply};
use nuncio_codec::head::Known;

impl Admin {
    /// Answers what came over HTTP.
    pub fn reply(&self, asked: &Asked) -> Reply {
        let head = &asked.head;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut request = Request::new(&text(head.method()), &text(head.path()));
        let form = head.headers.get(Known::ContentType);
        if form.is_some_and(|v| v.starts_with(b"application/x-www-form-urlencoded")) {
            request.form = parameters(&text(&asked.body));
        }
        let Response { status, content_type, body } = self.answer(&request);
        let mut reply = Reply::new(status)
            .with("content-type", content_type)
            .with("cache-control", "no-cache, max-age=0")
            .with("x-content-type-options", "nosniff");
        reply.body = body.into_bytes();
        reply
    }
}
