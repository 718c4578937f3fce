//! Matcher trees that lead to `envoy.config.rbac.v3.Action`.

use super::{Action, Judgement, Subject};
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::matcher::tree::{MatcherTree, Value, Vocabulary};
use nuncio_core::matcher::{NetworkFacts, NetworkInput, joined_values};
use nuncio_core::stream_info::CertificateInfo;
use nuncio_proto::pb::envoy::config::rbac::v3 as pb;
use nuncio_proto::pb::envoy::extensions::matching::common_inputs::ssl::v3 as ssl;
use nuncio_proto::pb::envoy::r#type::matcher::v3::HttpRequestHeaderMatchInput;
use nuncio_proto::pb::xds::r#type::matcher::v3::Matcher;
use prost::Name;
use prost_types::Any;
use std::borrow::Cow;
use std::cell::Cell;

/// A compiled tree.
#[derive(Debug)]
pub(super) struct Tree {
    matcher: MatcherTree<Input, Then>,
    /// One of its actions marks requests for logs.
    logs: bool,
}

/// What it looks at.
#[derive(Debug)]
enum Input {
    /// All values of a header, joined by commas.
    Header(Box<str>),
    Network(NetworkInput),
    /// The client certificate's subject, or its names of a kind, joined by commas.
    Subject,
    UriSan,
    DnsSan,
}

/// What it leads to.
#[derive(Debug)]
struct Then {
    policy: Box<str>,
    action: Action,
}

/// The inputs and actions of rbac. `heads`: requests have headers.
struct Words {
    heads: bool,
    logs: Cell<bool>,
}

impl Vocabulary for Words {
    type Input = Input;
    type Action = Then;

    fn input(&self, any: &Any, cx: &CompileContext<'_>) -> Option<Input> {
        let kind = type_name(&any.type_url);
        if kind == HttpRequestHeaderMatchInput::full_name() && self.heads {
            let HttpRequestHeaderMatchInput { header_name } = cx.unpack(any)?;
            return Some(Input::Header(header_name.to_ascii_lowercase().into()));
        }
        let of_certificate = [
            (ssl::SubjectInput::full_name(), Input::Subject),
            (ssl::UriSanInput::full_name(), Input::UriSan),
            (ssl::DnsSanInput::full_name(), Input::DnsSan),
        ];
        if let Some((_, input)) = of_certificate.into_iter().find(|(name, _)| name == kind) {
            return Some(input);
        }
        let input = NetworkInput::compile(any, cx)?.map(Input::Network);
        if input.is_none() {
            cx.unsupported(format!("rbac cannot match on '{}'", any.type_url));
        }
        input
    }

    fn action(&self, _: &str, any: &Any, cx: &CompileContext<'_>) -> Option<Then> {
        if type_name(&any.type_url) != pb::Action::full_name() {
            cx.error(format!("'{}' is no action of rbac", type_name(&any.type_url)));
            return None;
        }
        let pb::Action { name, action } = cx.unpack(any)?;
        let action = Action::of(action)?;
        self.logs.set(self.logs.get() | (action == Action::Log));
        Some(Then { policy: name.into(), action })
    }
}

impl Tree {
    pub(super) fn compile(message: Matcher, heads: bool, cx: &CompileContext<'_>) -> Option<Self> {
        let words = Words { heads, logs: Cell::new(false) };
        let matcher = MatcherTree::compile(message, &words, cx)?;
        Some(Self { matcher, logs: words.logs.get() })
    }

    /// What is not matched may not go on.
    pub(super) fn judge(&self, subject: &Subject<'_>) -> Judgement<'_> {
        let Some(Then { policy, action }) = self.matcher.find(&|input| input.value(subject)) else {
            return Judgement { allowed: false, policy: None, hint: None };
        };
        Judgement {
            allowed: *action != Action::Deny,
            policy: Some(policy),
            hint: self.logs.then_some(*action == Action::Log),
        }
    }
}

impl Input {
    fn value<'s>(&self, subject: &Subject<'s>) -> Value<'s> {
        let connection = subject.connection;
        match self {
            Self::Header(name) => joined_values(&subject.head?.headers, name),
            Self::Network(input) => input.value(&NetworkFacts {
                local: &connection.local,
                remote: subject.remote,
                direct_remote: &connection.direct_remote,
                server_name: connection.requested_server_name.as_deref(),
                state: &|key| match subject.info {
                    Some(info) => info.filter_state(key),
                    None => connection.state.filter_state.get(key),
                },
            }),
            Self::Subject => certificate(subject).map(|c| Cow::Borrowed(&*c.subject)),
            Self::UriSan => joined(&certificate(subject)?.uri_sans),
            Self::DnsSan => joined(&certificate(subject)?.dns_sans),
        }
    }
}

/// The client's own certificate.
fn certificate<'s>(subject: &Subject<'s>) -> Option<&'s CertificateInfo> {
    subject.connection.tls.as_ref()?.peer.as_ref()?.chain.first()
}

fn joined<'s>(names: &[Box<str>]) -> Value<'s> {
    (!names.is_empty()).then(|| Cow::Owned(names.join(",")))
}
