//! How each side reads what it is sent, as configured.

use super::fields::{FieldRules, Part};
use super::{DecoderLimits, UnderscoreAction};
use crate::head::PreserveCase;
use std::fmt;
use std::sync::Arc;

/// How requests are read (`Http1ProtocolOptions` and its neighbours in the connection manager). The default is
/// Envoy's.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// `max_request_headers_kb` and `common_http_protocol_options.max_headers_count`.
    pub limits: DecoderLimits,
    /// HTTP/1.0 (and 0.9) requests are served.
    pub accept_http_10: bool,
    /// The authority of an HTTP/1.0 request without Host; empty in the configuration means none.
    pub default_host_for_http_10: Option<Box<str>>,
    /// Absolute-form targets are taken apart; else they stay whole in `:path`.
    pub allow_absolute_url: bool,
    /// Content-Length beside `Transfer-Encoding: chunked` is removed; else such a request is refused.
    pub allow_chunked_length: bool,
    /// Trailers are events; else they are checked and dropped.
    pub enable_trailers: bool,
    /// What is done about `_` in names.
    pub underscores: UnderscoreAction,
    /// How names were spelled is kept with the head.
    pub preserve_case: Option<PreserveCase>,
    /// Methods beyond the registered ones are taken, if they are tokens.
    pub allow_custom_methods: bool,
    /// Upgrades that are passed over as if nobody had asked for them (`ignore_http_11_upgrade`).
    pub ignored_upgrades: Option<IgnoredUpgrades>,
}

/// What says whether an upgrade of this name is passed over.
pub type IsIgnored = dyn Fn(&[u8]) -> bool + Send + Sync;

/// The upgrades that are passed over.
#[derive(Clone)]
pub struct IgnoredUpgrades(pub Arc<IsIgnored>);

impl fmt::Debug for IgnoredUpgrades {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IgnoredUpgrades")
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            limits: DecoderLimits::default(),
            accept_http_10: false,
            default_host_for_http_10: None,
            allow_absolute_url: true,
            allow_chunked_length: false,
            enable_trailers: false,
            underscores: UnderscoreAction::Allow,
            preserve_case: None,
            allow_custom_methods: false,
            ignored_upgrades: None,
        }
    }
}

impl ServerOptions {
    pub(super) fn rules(&self) -> FieldRules {
        FieldRules {
            limits: self.limits,
            underscores: self.underscores,
            preserve_case: self.preserve_case.is_some(),
            part: Part::Request,
        }
    }
}

/// How responses are read (`Http1ProtocolOptions` and `common_http_protocol_options` of a cluster). The default
/// is Envoy's.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `max_response_headers_kb` and `max_headers_count`.
    pub limits: DecoderLimits,
    /// Content-Length beside `Transfer-Encoding: chunked` is removed; else such a response is an error.
    pub allow_chunked_length: bool,
    /// Trailers are events; else they are checked and dropped.
    pub enable_trailers: bool,
    /// How names were spelled is kept with the head.
    pub preserve_case: Option<PreserveCase>,
}

impl Default for ClientOptions {
    /// As Envoy: heads of up to 80 KiB and 100 fields.
    fn default() -> Self {
        Self {
            limits: DecoderLimits { max_head_bytes: 80 * 1024, ..DecoderLimits::default() },
            allow_chunked_length: false,
            enable_trailers: false,
            preserve_case: None,
        }
    }
}

impl ClientOptions {
    pub(super) fn rules(&self) -> FieldRules {
        FieldRules {
            limits: self.limits,
            underscores: UnderscoreAction::Allow,
            preserve_case: self.preserve_case.is_some(),
            part: Part::Response,
        }
    }
}
