//! The answers that a route gives itself: `redirect` and `direct_response`.

use super::rewriting::format;
use crate::hcm::local_reply::BodyFormat;
use crate::route::action::DirectResponseAction;
use crate::route::redirect::{NewPath, RedirectAction};
use crate::route::rewrite::PathRewrite;
use nuncio_core::config::{CompileContext, data_source};
use nuncio_core::matcher::RegexRewrite;
use nuncio_proto::pb::envoy::config::core::v3 as core;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use std::path::Path;

pub(in crate::route) fn redirect(
    message: pb::RedirectAction,
    cx: &CompileContext<'_>,
    by_template: bool,
) -> Option<RedirectAction> {
    use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
    let pb::RedirectAction {
        host_redirect,
        path_rewrite_specifier,
        response_code,
        scheme_rewrite_specifier,
        strip_query,
        port_redirect,
    } = message;
    let mut path = NewPath::Literal("".into());
    let rewrite = match path_rewrite_specifier {
        None => None,
        Some(PathRewriteSpecifier::PathRedirect(text)) => {
            path = NewPath::Literal(text.into());
            None
        }
        Some(PathRewriteSpecifier::PathRewrite(text)) => {
            path = NewPath::Format(Box::new(format(&text, "path", true, &cx.field("path_rewrite"))?));
            None
        }
        Some(PathRewriteSpecifier::PrefixRewrite(text)) if by_template && !text.is_empty() => {
            cx.field("prefix_rewrite").error("Cannot use redirect.prefix_rewrite with path_match_policy");
            return None;
        }
        Some(PathRewriteSpecifier::PrefixRewrite(text)) => {
            (!text.is_empty()).then(|| PathRewrite::Prefix(text.into()))
        }
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => {
            Some(PathRewrite::Regex(Box::new(RegexRewrite::compile(regex, &cx.field("regex_rewrite"))?)))
        }
    };
    Some(RedirectAction {
        status: match RedirectResponseCode::try_from(response_code) {
            Ok(RedirectResponseCode::Found) => 302,
            Ok(RedirectResponseCode::SeeOther) => 303,
            Ok(RedirectResponseCode::TemporaryRedirect) => 307,
            Ok(RedirectResponseCode::PermanentRedirect) => 308,
            // The support check refused other numbers.
            Ok(RedirectResponseCode::MovedPermanently) | Err(_) => 301,
        },
        scheme: match scheme_rewrite_specifier {
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => "https".into(),
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => scheme.into(),
            Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => "".into(),
        },
        host: host_redirect.into(),
        port: if port_redirect == 0 { "".into() } else { format!(":{port_redirect}").into() },
        path,
        rewrite,
        strip_query,
    })
}

pub(super) fn direct_response(
    message: pb::DirectResponseAction,
    cx: &CompileContext<'_>,
    max_body: u64,
) -> Option<DirectResponseAction> {
    let pb::DirectResponseAction { status, body, body_format } = message;
    let Ok(status) = u16::try_from(status) else {
        cx.field("status").error("value must be inside range [200, 600)");
        return None;
    };
    let body = match body {
        None => Vec::new(),
        Some(source) => direct_body(&source, &cx.field("body"), max_body)?,
    };
    let format = match body_format {
        None => None,
        Some(message) => Some(Box::new(BodyFormat::compile(&message, &cx.field("body_format"))?)),
    };
    Some(DirectResponseAction { status, body: body.into(), format })
}

fn direct_body(source: &core::DataSource, cx: &CompileContext<'_>, max: u64) -> Option<Vec<u8>> {
    let file = match &source.specifier {
        Some(core::data_source::Specifier::Filename(name)) => Some(name),
        _ => None,
    };
    if let Some(name) = file {
        let Ok(size) = Path::new(name).metadata().map(|m| m.len()) else {
            cx.field("filename").error(format!("file {name} does not exist"));
            return None;
        };
        if size > max {
            cx.field("filename").error(format!("file {name} size is {size} bytes; maximum is {max}"));
            return None;
        }
    }
    let body = if source.specifier.is_none() { Vec::new() } else { data_source(source, cx)? };
    if body.len() as u64 > max {
        cx.error(format!("response body size is {} bytes; maximum is {max}", body.len()));
        return None;
    }
    Some(body)
}
