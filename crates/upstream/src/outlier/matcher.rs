//! `HttpProtocolOptions.outlier_detection.error_matcher`: which answers are failures of their host.

use nuncio_codec::head::ResponseHead;
use nuncio_core::config::CompileContext;
use nuncio_core::matcher::HeaderMatcher;
use nuncio_proto::pb::envoy::config::common::matcher::v3::match_predicate::{MatchSet, Rule};
use nuncio_proto::pb::envoy::config::common::matcher::v3::{HttpHeadersMatch, MatchPredicate};

/// The pseudo header that a matcher may name.
const STATUS: &str = ":status";

/// A compiled `MatchPredicate`, which is asked of the head of an answer.
#[derive(Clone, Debug)]
pub enum ErrorMatcher {
    /// One of them holds.
    Or(Box<[Self]>),
    /// All of them hold.
    And(Box<[Self]>),
    /// It does not hold.
    Not(Box<Self>),
    /// Whatever comes.
    Any,
    /// The head has all of these.
    Headers(Box<[HeaderMatcher]>),
    /// As in Envoy, what is asked of requests and trailers is never seen here.
    Unseen,
}

impl ErrorMatcher {
    /// Compiles the message. `None`: refused, with the reasons in `cx`.
    pub(crate) fn compile(message: MatchPredicate, cx: &CompileContext<'_>) -> Option<Self> {
        let MatchPredicate { rule } = message;
        let all = |field: &str, MatchSet { rules }: MatchSet| {
            let cx = cx.field(field);
            let each = rules.into_iter().enumerate().map(|(i, m)| Self::compile(m, &cx.item("rules", i)));
            each.collect::<Option<Box<[_]>>>()
        };
        Some(match rule {
            Some(Rule::OrMatch(set)) => Self::Or(all("or_match", set)?),
            Some(Rule::AndMatch(set)) => Self::And(all("and_match", set)?),
            Some(Rule::NotMatch(one)) => Self::Not(Box::new(Self::compile(*one, &cx.field("not_match"))?)),
            Some(Rule::AnyMatch(_)) => Self::Any,
            Some(Rule::HttpResponseHeadersMatch(m)) => {
                Self::Headers(headers(m, &cx.field("http_response_headers_match"))?)
            }
            Some(Rule::HttpRequestHeadersMatch(m)) => unseen(m, &cx.field("http_request_headers_match"))?,
            Some(Rule::HttpRequestTrailersMatch(m)) => unseen(m, &cx.field("http_request_trailers_match"))?,
            Some(Rule::HttpResponseTrailersMatch(m)) => unseen(m, &cx.field("http_response_trailers_match"))?,
            None => {
                cx.error("field: \"rule\", reason: is required");
                return None;
            }
        })
    }

    /// Whether the answer is a failure.
    pub fn holds(&self, head: &ResponseHead) -> bool {
        match self {
            Self::Or(all) => all.iter().any(|one| one.holds(head)),
            Self::And(all) => all.iter().all(|one| one.holds(head)),
            Self::Not(one) => !one.holds(head),
            Self::Any => true,
            Self::Headers(all) => all.iter().all(|one| has(one, head)),
            Self::Unseen => false,
        }
    }
}

fn has(matcher: &HeaderMatcher, head: &ResponseHead) -> bool {
    if matcher.header() == STATUS {
        return matcher.matches_value(Some(head.status.to_string().as_bytes()));
    }
    matcher.matches(&head.headers)
}

fn headers(message: HttpHeadersMatch, cx: &CompileContext<'_>) -> Option<Box<[HeaderMatcher]>> {
    let HttpHeadersMatch { headers } = message;
    headers.iter().enumerate().map(|(i, m)| HeaderMatcher::compile(m, &cx.item("headers", i))).collect()
}

fn unseen(message: HttpHeadersMatch, cx: &CompileContext<'_>) -> Option<ErrorMatcher> {
    headers(message, cx).map(|_| ErrorMatcher::Unseen)
}
