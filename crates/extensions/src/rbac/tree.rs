//! Matcher trees that lead to `envoy.config.rbac.v3.Action`.

use super::{Action, Outcome, Subject};
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::matcher::tree::{MatcherTree, Vocabulary};
use nuncio_core::matcher::{HttpInput, NetworkInput};
use nuncio_proto::pb::envoy::config::rbac::v3 as pb;
use nuncio_proto::pb::xds::r#type::matcher::v3::Matcher;
use prost::Name;
use prost_types::Any;
use std::cell::{Cell, RefCell};

/// A compiled tree.
#[derive(Debug)]
pub(super) struct Tree {
    matcher: MatcherTree<HttpInput, Then>,
    /// One of its actions marks requests for logs.
    logs: bool,
    outcomes: Vec<Outcome>,
}

/// What it leads to.
#[derive(Debug)]
struct Then {
    action: Action,
    /// The number of what comes of it.
    outcome: usize,
}

/// The inputs and actions of rbac. `heads`: requests have headers.
struct Words {
    heads: bool,
    logs: Cell<bool>,
    outcomes: RefCell<Vec<Outcome>>,
}

impl Vocabulary for Words {
    type Input = HttpInput;
    type Action = Then;

    fn input(&self, any: &Any, cx: &CompileContext<'_>) -> Option<HttpInput> {
        let input = HttpInput::compile(any, cx)?.filter(|input| match input {
            HttpInput::RequestHeader(_) | HttpInput::Attributes => self.heads,
            HttpInput::Network(input) => !matches!(input, NetworkInput::SourceType),
            HttpInput::Subject | HttpInput::UriSan | HttpInput::DnsSan => true,
            _ => false,
        });
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
        let mut outcomes = self.outcomes.borrow_mut();
        outcomes.push(Outcome { allowed: action != Action::Deny, policy: Some(name.into()) });
        Some(Then { action, outcome: outcomes.len() - 1 })
    }
}

impl Tree {
    pub(super) fn compile(message: Matcher, heads: bool, cx: &CompileContext<'_>) -> Option<Self> {
        // What is not matched may not go on.
        let nothing = Outcome { allowed: false, policy: None };
        let words = Words { heads, logs: Cell::new(false), outcomes: RefCell::new(vec![nothing]) };
        let matcher = MatcherTree::compile(message, &words, cx)?;
        Some(Self { matcher, logs: words.logs.get(), outcomes: words.outcomes.into_inner() })
    }

    /// All that can come of it.
    pub(super) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The number of the outcome, and whether logs shall have it.
    pub(super) fn judge(&self, subject: &Subject<'_>) -> (usize, Option<bool>) {
        match self.matcher.find(&|input| input.value(&subject.facts())) {
            None => (0, None),
            Some(Then { action, outcome }) => (*outcome, self.logs.then_some(*action == Action::Log)),
        }
    }
}
