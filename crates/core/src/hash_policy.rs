//! `hash_policy`: what of a request decides where consistent hashing puts it.

use crate::config::{CompileContext, duration};
use crate::header::{HeaderName, cookie};
use crate::matcher::{RegexRewrite, parameter, query_of};
use crate::stream_info::StreamInfo;
use crate::xx_hash::xx_hash64;
use nuncio_codec::head::{HeaderMap, Known, RequestHead};
use nuncio_proto::pb::envoy::config::route::v3::route_action as pb;
use pb::hash_policy::{
    ConnectionProperties, Cookie, CookieAttribute, FilterState, Header, PolicySpecifier, QueryParameter,
};
use std::fmt;
use std::time::Duration;

/// The policies of a route, a cluster, a balancer or a TCP proxy, in their order.
#[derive(Debug, Default)]
pub struct HashPolicies(Box<[HashPolicy]>);

#[derive(Debug)]
struct HashPolicy {
    source: Source,
    /// A hash that stands when this one is reached is final.
    terminal: bool,
}

#[derive(Debug)]
enum Source {
    Header { name: HeaderName, rewrite: Option<Box<RegexRewrite>> },
    Cookie(Box<HashCookie>),
    ClientAddress,
    Query(Box<str>),
    FilterState(Box<str>),
    Nothing,
}

/// A cookie that requests are placed by, and that clients without one are given.
#[derive(Debug)]
struct HashCookie {
    name: Box<str>,
    /// `None`: clients are given none; less than a second: for their session.
    ttl: Option<Duration>,
    path: Box<str>,
    attributes: Box<[(Box<str>, Box<str>)]>,
}

impl HashPolicies {
    /// Compiles the list.
    pub fn compile(list: Vec<pb::HashPolicy>, cx: &CompileContext<'_>) -> Option<Self> {
        let policies = list.into_iter().enumerate().map(|(i, message)| {
            let cx = cx.item("hash_policy", i);
            let pb::HashPolicy { terminal, policy_specifier } = message;
            let source = match policy_specifier {
                Some(PolicySpecifier::Header(Header { header_name, regex_rewrite })) => Source::Header {
                    name: HeaderName::new(&header_name),
                    rewrite: match regex_rewrite {
                        None => None,
                        Some(message) => {
                            let cx = cx.field("header");
                            Some(Box::new(RegexRewrite::compile(message, &cx.field("regex_rewrite"))?))
                        }
                    },
                },
                Some(PolicySpecifier::Cookie(Cookie { name, ttl, path, attributes })) => {
                    let ttl = match ttl {
                        None => None,
                        Some(ttl) => Some(duration(&ttl, &cx.field("cookie").field("ttl"))?),
                    };
                    let attributes = attributes
                        .into_iter()
                        .map(|CookieAttribute { name, value }| (name.into(), value.into()));
                    let attributes = attributes.collect();
                    Source::Cookie(Box::new(HashCookie {
                        name: name.into(),
                        ttl,
                        path: path.into(),
                        attributes,
                    }))
                }
                Some(PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })) => {
                    Source::ClientAddress
                }
                Some(PolicySpecifier::QueryParameter(QueryParameter { name })) => Source::Query(name.into()),
                Some(PolicySpecifier::FilterState(FilterState { key })) => Source::FilterState(key.into()),
                Some(PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: false }))
                | None => Source::Nothing,
            };
            Some(HashPolicy { source, terminal })
        });
        policies.collect::<Option<Box<[HashPolicy]>>>().map(Self)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hash of a request, or of a connection, which has no head; `None` where no policy finds anything. Cookies that
    /// the client shall be given are appended to `cookies`, as values of `set-cookie`; without it none are made.
    pub fn hash(
        &self,
        head: Option<&RequestHead>,
        info: &StreamInfo,
        mut cookies: Option<&mut Vec<Vec<u8>>>,
    ) -> Option<u64> {
        let mut hash: Option<u64> = None;
        for policy in &self.0 {
            if let Some(new) = policy.source.hash(head, info, cookies.as_deref_mut()) {
                hash = Some(hash.map_or(new, |old| old.rotate_left(1) ^ new));
            }
            if policy.terminal && hash.is_some() {
                break;
            }
        }
        hash
    }
}

impl HashPolicies {
    /// What each policy finds by itself, for explanations.
    pub fn each(&self, head: &RequestHead, info: &StreamInfo) -> Vec<(String, Option<u64>)> {
        let told = |policy: &HashPolicy| {
            let terminal = if policy.terminal { " (terminal)" } else { "" };
            let found = policy.source.hash(Some(head), info, Some(&mut Vec::new()));
            (format!("{}{terminal}", policy.source), found)
        };
        self.0.iter().map(told).collect()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, .. } => write!(f, "header {name}"),
            Self::Cookie(cookie) => write!(f, "cookie {}", cookie.name),
            Self::ClientAddress => f.write_str("source_ip"),
            Self::Query(name) => write!(f, "query parameter {name}"),
            Self::FilterState(key) => write!(f, "filter state {key}"),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}

impl Source {
    fn hash(
        &self,
        head: Option<&RequestHead>,
        info: &StreamInfo,
        cookies: Option<&mut Vec<Vec<u8>>>,
    ) -> Option<u64> {
        match self {
            Self::Header { name, rewrite } => header(&head?.headers, name, rewrite.as_deref()),
            Self::Cookie(cookie) => cookie.hash(&head?.headers, info, cookies),
            Self::ClientAddress => {
                let mut text = Vec::with_capacity(40);
                info.remote_address().ip()?;
                info.remote_address().write_ip_to(&mut text);
                Some(xx_hash64(&text, 0))
            }
            Self::Query(name) => {
                let query = query_of(head?.headers.get(Known::Path)?);
                Some(xx_hash64(parameter(query, name.as_bytes())?, 0))
            }
            Self::FilterState(key) => info.filter_state(key)?.hash(),
            Self::Nothing => None,
        }
    }
}

/// All values of a header, each rewritten, in their order by bytes; the hash of one is the seed of the next.
fn header(headers: &HeaderMap, name: &HeaderName, rewrite: Option<&RegexRewrite>) -> Option<u64> {
    let mut values = name.values(headers);
    let first = values.next()?;
    let second = values.next();
    if second.is_none() && rewrite.is_none() {
        return Some(xx_hash64(first, 0));
    }
    let rewritten = |value: &[u8]| {
        let mut out = Vec::with_capacity(value.len());
        match rewrite {
            Some(rewrite) => {
                rewrite.replace_all(value, &mut out);
            }
            None => out.extend_from_slice(value),
        }
        out
    };
    let mut all: Vec<Vec<u8>> = [first].into_iter().chain(second).chain(values).map(rewritten).collect();
    all.sort_unstable();
    Some(all.iter().fold(0, |seed, value| xx_hash64(value, seed)))
}

impl HashCookie {
    fn hash(
        &self,
        headers: &HeaderMap,
        info: &StreamInfo,
        cookies: Option<&mut Vec<Vec<u8>>>,
    ) -> Option<u64> {
        if let Some(value) = cookie(headers, self.name.as_bytes()).filter(|v| !v.is_empty()) {
            return Some(xx_hash64(value, 0));
        }
        let (ttl, cookies) = (self.ttl?, cookies?);
        // Both addresses of the connection: the same client gets the same cookie.
        let mut text = Vec::with_capacity(48);
        info.remote_address().write_to(&mut text);
        info.connection.local.write_to(&mut text);
        let value = format!("{:x}", xx_hash64(&text, 0));
        let mut set = format!("{}=\"{value}\"", self.name);
        if ttl.as_secs() > 0 {
            set += &format!("; Max-Age={}", ttl.as_secs());
        }
        if !self.path.is_empty() {
            set += &format!("; Path={}", self.path);
        }
        for (name, attribute) in &self.attributes {
            set += &if attribute.is_empty() { format!("; {name}") } else { format!("; {name}={attribute}") };
        }
        set += "; HttpOnly";
        cookies.push(set.into_bytes());
        Some(xx_hash64(value.as_bytes(), 0))
    }
}
