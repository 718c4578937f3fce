//! How a route changes path and host: `RouteAction`'s rewrites.

use crate::route::action::HostChoice;
use crate::route::rewrite::{HostRewrite, PathRewrite};
use crate::route::template::{TemplateMatch, TemplateRewrite, TemplateRewriteError};
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::format::{Commands, Format};
use nuncio_core::header::HeaderName;
use nuncio_core::matcher::RegexRewrite;
use nuncio_proto::pb::envoy::config::core::v3 as core;
use nuncio_proto::pb::envoy::config::route::v3::route_action::HostRewriteSpecifier;
use nuncio_proto::pb::envoy::extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig;
use nuncio_proto::pb::envoy::r#type::matcher::v3 as matcher;
use prost::Name;
use std::sync::Arc;

/// The fields that rewrite a path, of which one may be set.
pub(super) struct PathFields {
    pub prefix: String,
    pub regex: Option<matcher::RegexMatchAndSubstitute>,
    pub policy: Option<core::TypedExtensionConfig>,
    pub format: String,
}

/// The text of a `path_rewrite` or `host_rewrite`, compiled; `what` it rewrites. A value that is missing prints `-`
/// unless `omit_empty`.
pub(super) fn format(text: &str, what: &str, omit_empty: bool, cx: &CompileContext<'_>) -> Option<Format> {
    let compiled = Format::with(text, &Commands::default(), omit_empty);
    compiled.map_err(|error| cx.error(format!("Failed to create {what} rewrite formatter: {error}"))).ok()
}

/// `Some(None)` where nothing rewrites it.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
pub(super) fn path_rewrite(
    fields: PathFields,
    cx: &CompileContext<'_>,
    template: Option<&TemplateMatch>,
) -> Option<Option<Arc<PathRewrite>>> {
    let PathFields { prefix, regex, policy, format: text } = fields;
    let set = [!prefix.is_empty(), regex.is_some(), policy.is_some(), !text.is_empty()];
    if set.into_iter().filter(|set| *set).count() > 1 {
        cx.error("Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy");
        return None;
    }
    let rewrite = if let Some(regex) = regex {
        PathRewrite::Regex(Box::new(RegexRewrite::compile(regex, &cx.field("regex_rewrite"))?))
    } else if let Some(policy) = policy {
        match template_rewrite(policy, &cx.field("path_rewrite_policy"), template)? {
            None => return Some(None),
            Some(rewrite) => PathRewrite::Template(Box::new(rewrite)),
        }
    } else if !text.is_empty() {
        PathRewrite::Format(Box::new(format(&text, "path", true, &cx.field("path_rewrite"))?))
    } else if prefix.is_empty() {
        return Some(None);
    } else if template.is_some() {
        cx.field("prefix_rewrite").error("Cannot use prefix_rewrite with matcher extension");
        return None;
    } else {
        PathRewrite::Prefix(prefix.into())
    };
    Some(Some(Arc::new(rewrite)))
}

/// `Some(None)` where the template matches nothing, so that nothing is rewritten.
#[expect(clippy::option_option, reason = "the outer one says whether it compiled")]
fn template_rewrite(
    extension: core::TypedExtensionConfig,
    cx: &CompileContext<'_>,
    template: Option<&TemplateMatch>,
) -> Option<Option<TemplateRewrite>> {
    let core::TypedExtensionConfig { name, typed_config } = extension;
    let any = typed_config.unwrap_or_default();
    let type_name = type_name(&any.type_url);
    if type_name != UriTemplateRewriteConfig::full_name() {
        cx.error(format!(
            "Didn't find a registered implementation for '{name}' with type URL: '{type_name}'"
        ));
        return None;
    }
    let Some(template) = template else {
        cx.error(
            "unable to use envoy.path.rewrite.uri_template.uri_template_rewriter extension without \
             envoy.path.match.uri_template.uri_template_matcher extension",
        );
        return None;
    };
    let cx = cx.field("typed_config");
    let UriTemplateRewriteConfig { path_template_rewrite: text } = cx.unpack(&any)?;
    match TemplateRewrite::new(&text, template) {
        Ok(rewrite) => Some(rewrite),
        Err(TemplateRewriteError::Invalid) => {
            cx.error(format!("path_rewrite_policy.path_template_rewrite {text} is invalid"));
            None
        }
        Err(TemplateRewriteError::Mismatch) => {
            cx.error(format!(
                "mismatch between variables in path_match_policy {} and path_rewrite_policy {text}",
                template.text()
            ));
            None
        }
    }
}

/// What becomes of `:authority`.
pub(super) fn host_choice(
    specifier: Option<HostRewriteSpecifier>,
    cx: &CompileContext<'_>,
) -> Option<HostChoice> {
    let rewrite = match specifier {
        None | Some(HostRewriteSpecifier::AutoHostRewrite(false)) => return Some(HostChoice::Keep),
        Some(HostRewriteSpecifier::AutoHostRewrite(true)) => return Some(HostChoice::Automatic),
        Some(HostRewriteSpecifier::HostRewriteLiteral(text)) => HostRewrite::Literal(text.into()),
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => HostRewrite::Header(HeaderName::new(&name)),
        Some(HostRewriteSpecifier::HostRewrite(text)) => {
            HostRewrite::Format(Box::new(format(&text, "host", false, &cx.field("host_rewrite"))?))
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(regex)) => HostRewrite::PathRegex(Box::new(
            RegexRewrite::compile(regex, &cx.field("host_rewrite_path_regex"))?,
        )),
    };
    Some(HostChoice::Rewrite(Arc::new(rewrite)))
}
