//! `envoy.filters.http.header_to_metadata`: headers and cookies become dynamic metadata, for logs, for the choice of
//! a subset of hosts and for filters behind this one.

mod value;

use super::frame::{Counts, Framed, Live, compiled, of_route};
use nuncio_codec::head::HeaderMap;
use nuncio_core::config::CompileContext;
use nuncio_core::header::{HeaderName, cookie};
use nuncio_core::stats::{Registry, Scope};
use nuncio_core::stream_info::StreamInfo;
use nuncio_downstream::filter::{
    Compiled, Flow, HttpFilter, HttpFilterFactory, Request, Response, RouteSays,
};
use nuncio_proto::pb::envoy::extensions::filters::http::header_to_metadata::v3::{Config as Message, config};
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use value::{Failure, Target};

/// The namespace of metadata whose rule names none.
const NAMESPACE: &str = "envoy.filters.http.header_to_metadata";

nuncio_core::stats_block! {
    /// Below `http_filter_name.STAT_PREFIX.`, where the configuration gives one.
    struct HeaderToMetadataStats {
        counter request_rules_processed,
        counter response_rules_processed,
        counter request_metadata_added,
        counter response_metadata_added,
        counter request_header_not_found,
        counter response_header_not_found,
        counter base64_decode_failed,
        counter header_value_too_long,
        counter regex_substitution_failed,
    }
}

/// Compiles the filter's message.
pub struct HeaderToMetadataFactory;

impl HttpFilterFactory for HeaderToMetadataFactory {
    type Config = Message;
    type PerRoute = Message;

    fn compile(&self, message: Message, cx: &CompileContext<'_>) -> Option<Compiled> {
        compiled::<HeaderToMetadataFilter>(Rules::compile(message, cx)?)
    }

    fn compile_route(&self, message: Message, cx: &CompileContext<'_>) -> Option<Arc<dyn Any + Send + Sync>> {
        let rules = Rules::compile(message, cx)?;
        if rules.request.is_empty() && rules.response.is_empty() {
            cx.error("header_to_metadata_filter: Per filter configs must at least specify either request or response rules");
            return None;
        }
        of_route(rules)
    }
}

/// What is read from heads; a route's rules stand for all of the filter's.
struct Rules {
    request: Box<[Rule]>,
    response: Box<[Rule]>,
    stat_prefix: Option<Box<str>>,
}

struct Rule {
    source: Source,
    present: Option<Target>,
    missing: Option<Target>,
    remove: bool,
}

enum Source {
    Header(HeaderName),
    Cookie(Box<str>),
}

impl Rules {
    fn compile(message: Message, cx: &CompileContext<'_>) -> Option<Self> {
        let Message { request_rules, response_rules, stat_prefix } = message;
        let list = |rules: Vec<config::Rule>, field: &str| {
            let compiled: Vec<_> =
                rules.into_iter().enumerate().map(|(i, m)| Rule::compile(m, &cx.item(field, i))).collect();
            compiled.into_iter().collect::<Option<Box<[_]>>>()
        };
        let (request, response) =
            (list(request_rules, "request_rules"), list(response_rules, "response_rules"));
        let stat_prefix = (!stat_prefix.is_empty()).then(|| stat_prefix.into());
        Some(Self { request: request?, response: response?, stat_prefix })
    }
}

impl Rule {
    fn compile(message: config::Rule, cx: &CompileContext<'_>) -> Option<Self> {
        let config::Rule { header, cookie, on_header_present, on_header_missing, remove } = message;
        let refuse = |why: &str| {
            cx.error(why);
            None
        };
        let source = match (header.is_empty(), cookie.is_empty()) {
            (false, true) => Source::Header(HeaderName::new(&header)),
            (true, false) if remove => return refuse("Cannot specify remove for cookie"),
            (true, false) => Source::Cookie(cookie.into()),
            (false, false) => return refuse("Cannot specify both header and cookie"),
            (true, true) => return refuse("One of Cookie or Header option needs to be specified"),
        };
        if on_header_present.is_none() && on_header_missing.is_none() {
            return refuse(
                "header to metadata filter: rule for header has neither `on_header_present` nor `on_header_missing` set",
            );
        }
        let target = |message: Option<config::KeyValuePair>, field| match message {
            None => Some(None),
            Some(message) => Target::compile(message, &cx.field(field)).map(Some),
        };
        let present = target(on_header_present, "on_header_present");
        let missing = target(on_header_missing, "on_header_missing");
        let (present, missing) = (present?, missing?);
        if missing.as_ref().is_some_and(Target::adds_nothing) {
            return refuse("Cannot specify on_missing rule with an empty value");
        }
        Some(Self { source, present, missing, remove })
    }

    /// What the rule looks at; a header that is to go is gone.
    fn extract(&self, headers: &mut HeaderMap) -> Option<Vec<u8>> {
        match &self.source {
            Source::Cookie(name) => {
                cookie(headers, name.as_bytes()).filter(|value| !value.is_empty()).map(<[u8]>::to_vec)
            }
            Source::Header(name) => {
                let mut values = name.values(headers);
                let mut all = values.next()?.to_vec();
                for value in values {
                    all.push(b',');
                    all.extend_from_slice(value);
                }
                if self.remove {
                    headers.remove(name.as_name());
                }
                Some(all)
            }
        }
    }
}

/// What it counts in, where its own settings name a place.
struct OwnStats(Option<Scope<HeaderToMetadataStats>>);

impl Counts<Rules> for OwnStats {
    fn begin(rules: &Rules, stats: &Registry, prefix: &str) -> Self {
        Self(rules.stat_prefix.as_ref().map(|_| stats.scope(prefix)))
    }
}

/// One stream's filter.
struct HeaderToMetadataFilter {
    live: Rc<Live<Self>>,
    rules: Arc<Rules>,
}

impl Framed for HeaderToMetadataFilter {
    type Settings = Rules;
    type Stats = OwnStats;

    fn stat_prefix(rules: &Rules, _: &str) -> String {
        format!("http_filter_name.{}.", rules.stat_prefix.as_deref().unwrap_or_default())
    }

    fn make(live: Rc<Live<Self>>, rules: Arc<Rules>, _: RouteSays<'_>) -> Option<Self> {
        Some(Self { live, rules })
    }
}

/// Which rules are at work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Response,
}

impl HeaderToMetadataFilter {
    fn run(&self, direction: Direction, headers: &mut HeaderMap, info: &mut StreamInfo) {
        let rules = match direction {
            Direction::Request => &self.rules.request,
            Direction::Response => &self.rules.response,
        };
        // All rules read before anything is set: metadata of the same name takes the place of the whole value.
        let mut found: Vec<(&Target, prost_types::Value)> = Vec::new();
        for rule in rules {
            self.count(direction, |s| &s.request_rules_processed, |s| &s.response_rules_processed);
            let value = rule.extract(headers);
            let (target, value) = match (value, &rule.present, &rule.missing) {
                (Some(value), Some(target), _) => (target, value),
                (None, _, Some(target)) => {
                    self.count(direction, |s| &s.request_header_not_found, |s| &s.response_header_not_found);
                    (target, Vec::new())
                }
                _ => continue,
            };
            match target.value(value) {
                Ok(value) => {
                    self.count(direction, |s| &s.request_metadata_added, |s| &s.response_metadata_added);
                    found.push((target, value));
                }
                Err(failure) => self.failed(failure),
            }
        }
        for (target, value) in found {
            target.put(value, info);
        }
    }

    fn count(
        &self,
        direction: Direction,
        request: impl Fn(&HeaderToMetadataStats) -> &nuncio_core::stats::Counter,
        response: impl Fn(&HeaderToMetadataStats) -> &nuncio_core::stats::Counter,
    ) {
        if let Some(stats) = &self.live.stats.0 {
            if direction == Direction::Request { request(stats) } else { response(stats) }.inc();
        }
    }

    fn failed(&self, failure: Failure) {
        let Some(stats) = &self.live.stats.0 else { return };
        match failure {
            Failure::TooLong => stats.header_value_too_long.inc(),
            Failure::Base64 => stats.base64_decode_failed.inc(),
            Failure::Substitution => stats.regex_substitution_failed.inc(),
            Failure::Empty | Failure::Kind => {}
        }
    }
}

impl HttpFilter for HeaderToMetadataFilter {
    fn decode_headers(&mut self, request: &mut Request<'_>, _: bool) -> Flow {
        self.run(Direction::Request, &mut request.head.headers, request.info);
        Flow::Continue
    }

    fn encode_headers(&mut self, response: &mut Response<'_>, _: bool) -> Flow {
        self.run(Direction::Response, &mut response.head.headers, response.info);
        Flow::Continue
    }
}
