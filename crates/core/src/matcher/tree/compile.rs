//! From `xds.type.matcher.v3.Matcher` to a [`MatcherTree`].

use super::check::Check;
use super::{CidrList, IpRanges, Kind, MatcherTree, OnMatch, Predicate, Source};
use crate::config::{CompileContext, type_name};
use crate::matcher::StringMatcher;
use crate::runtime::Runtime;
use crate::stats::Registry;
use nuncio_proto::pb::envoy::extensions::matching::common_inputs::environment_variable::v3::Config as Environment;
use nuncio_proto::pb::envoy::r#type::matcher::v3 as envoy;
use nuncio_proto::pb::xds::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::xds::r#type::matcher::v3 as pb;
use nuncio_proto::pb::xds::r#type::matcher::v3::matcher::matcher_list::predicate::{
    MatchType, SinglePredicate, single_predicate,
};
use nuncio_proto::pb::xds::r#type::matcher::v3::matcher::matcher_list::{
    FieldMatcher, Predicate as PbPredicate,
};
use nuncio_proto::pb::xds::r#type::matcher::v3::matcher::matcher_tree::TreeType;
use nuncio_proto::pb::xds::r#type::matcher::v3::matcher::{MatcherType, OnMatch as PbOnMatch, on_match};
use nuncio_proto::pb::xds::r#type::matcher::v3::{CelMatcher, HttpAttributesCelMatchInput};
use prost::Name;
use prost_types::Any;
use std::collections::HashMap;

/// What the user of a matcher has inputs and actions for.
pub trait Vocabulary {
    /// Its inputs.
    type Input;
    /// What matchers lead to.
    type Action;

    /// An input by its message. `None`: refused, with the reason in `cx`.
    fn input(&self, any: &Any, cx: &CompileContext<'_>) -> Option<Self::Input>;

    /// An action by its name and message. `None`: refused, with the reason in `cx`.
    fn action(&self, name: &str, any: &Any, cx: &CompileContext<'_>) -> Option<Self::Action>;

    /// Where fractions are read; without it, they are refused.
    fn runtime(&self) -> Option<&Runtime> {
        None
    }

    /// Where matchers count; without it, those that do are refused.
    fn stats(&self) -> Option<&Registry> {
        None
    }

    /// Whether `keep_matching` may be said.
    fn may_keep_matching(&self) -> bool {
        false
    }
}

/// A tree of a vocabulary.
type Tree<V> = MatcherTree<<V as Vocabulary>::Input, <V as Vocabulary>::Action>;
/// What a match of a vocabulary leads to.
type Then<V> = OnMatch<<V as Vocabulary>::Input, <V as Vocabulary>::Action>;
/// A node of a tree of a vocabulary.
type Node<V> = Kind<<V as Vocabulary>::Input, <V as Vocabulary>::Action>;

impl<I, A> MatcherTree<I, A> {
    /// Compiles the message. `None`: refused, with the reasons in `cx`.
    pub fn compile<V: Vocabulary<Input = I, Action = A>>(
        message: pb::Matcher,
        vocabulary: &V,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let pb::Matcher { on_no_match, matcher_type } = message;
        let kind = match matcher_type {
            None => Some(Kind::Empty),
            Some(MatcherType::MatcherList(pb::matcher::MatcherList { matchers })) => {
                list(matchers, vocabulary, &cx.field("matcher_list"))
            }
            Some(MatcherType::MatcherTree(tree)) => self::tree(tree, vocabulary, &cx.field("matcher_tree")),
        };
        let on_no_match = match on_no_match {
            None => Some(None),
            Some(message) => then(*message, vocabulary, &cx.field("on_no_match")).map(|t| Some(Box::new(t))),
        };
        Some(Self { kind: kind?, on_no_match: on_no_match? })
    }
}

fn then<V: Vocabulary>(message: PbOnMatch, vocabulary: &V, cx: &CompileContext<'_>) -> Option<Then<V>> {
    let PbOnMatch { on_match, keep_matching } = message;
    if keep_matching && !vocabulary.may_keep_matching() {
        cx.field("keep_matching").error("keep_matching is not supported in this context");
        return None;
    }
    let then = match on_match {
        Some(on_match::OnMatch::Matcher(matcher)) => {
            let tree: Tree<V> = MatcherTree::compile(*matcher, vocabulary, &cx.field("matcher"))?;
            Some(OnMatch::Tree(Box::new(tree)))
        }
        Some(on_match::OnMatch::Action(TypedExtensionConfig { name, typed_config })) => {
            let cx = cx.field("action");
            let any = typed_config.unwrap_or_default();
            vocabulary.action(&name, &any, &cx.field("typed_config")).map(OnMatch::Action)
        }
        None => {
            cx.error("on_match: a matcher or an action is required");
            None
        }
    };
    // What is passed has to be right all the same.
    then.map(|then| if keep_matching { OnMatch::Passed } else { then })
}

fn input<V: Vocabulary>(
    message: Option<TypedExtensionConfig>,
    vocabulary: &V,
    cx: &CompileContext<'_>,
) -> Option<Source<V::Input>> {
    let TypedExtensionConfig { name: _, typed_config } = message?;
    let cx = cx.field("input");
    let (any, cx) = (typed_config.unwrap_or_default(), cx.field("typed_config"));
    if type_name(&any.type_url) == Environment::full_name() {
        let Environment { name } = cx.unpack(&any)?;
        return Some(Source::Environment(std::env::var(name).ok().map(String::into_boxed_str)));
    }
    vocabulary.input(&any, &cx).map(Source::Input)
}

fn is_of(message: Option<&TypedExtensionConfig>, name: &str) -> bool {
    let any = message.and_then(|message| message.typed_config.as_ref());
    any.is_some_and(|any| type_name(&any.type_url) == name)
}

/// Whether an input is of the kind that is looked at: expressions (`judges`) read attributes, and nothing else does.
fn fits(input: Option<&TypedExtensionConfig>, judges: bool, cx: &CompileContext<'_>) -> bool {
    let attributes = is_of(input, &HttpAttributesCelMatchInput::full_name());
    if attributes != judges {
        let kind = if attributes { "cel_data_input" } else { "string" };
        cx.field("input").error(format!("Unsupported data input type: {kind}"));
    }
    attributes == judges
}

fn list<V: Vocabulary>(
    messages: Vec<FieldMatcher>,
    vocabulary: &V,
    cx: &CompileContext<'_>,
) -> Option<Node<V>> {
    let each = messages.into_iter().enumerate().map(|(i, message)| {
        let cx = cx.item("matchers", i);
        let FieldMatcher { predicate, on_match } = message;
        let predicate = self::predicate(predicate?, vocabulary, &cx.field("predicate"));
        let then = then(on_match?, vocabulary, &cx.field("on_match"));
        Some((predicate?, then?))
    });
    each.collect::<Option<Vec<_>>>().map(Kind::List)
}

fn predicate<V: Vocabulary>(
    message: PbPredicate,
    vocabulary: &V,
    cx: &CompileContext<'_>,
) -> Option<Predicate<V::Input>> {
    let PbPredicate { match_type } = message;
    let all = |list: Vec<PbPredicate>, field: &str| {
        let cx = cx.field(field);
        let each = list.into_iter().enumerate();
        each.map(|(i, p)| predicate(p, vocabulary, &cx.item("predicate", i))).collect::<Option<Vec<_>>>()
    };
    Some(match match_type {
        Some(MatchType::SinglePredicate(SinglePredicate { input, matcher })) => {
            let cx = cx.field("single_predicate");
            let judges = match &matcher {
                Some(single_predicate::Matcher::CustomMatch(custom)) => {
                    is_of(Some(custom), &CelMatcher::full_name())
                }
                _ => false,
            };
            let fits = fits(input.as_ref(), judges, &cx);
            let input = self::input(input, vocabulary, &cx).filter(|_| fits);
            let matcher = match matcher {
                Some(single_predicate::Matcher::ValueMatch(message)) => {
                    StringMatcher::compile(&envoy_string(message), &cx.field("value_match")).map(Check::Text)
                }
                Some(single_predicate::Matcher::CustomMatch(TypedExtensionConfig {
                    name: _,
                    typed_config,
                })) => {
                    let cx = cx.field("custom_match");
                    Check::compile(&typed_config.unwrap_or_default(), vocabulary, &cx.field("typed_config"))
                }
                None => {
                    cx.error("a matcher is required");
                    None
                }
            };
            Predicate::Single(input?, matcher?)
        }
        Some(MatchType::OrMatcher(list)) => Predicate::Or(all(list.predicate, "or_matcher")?),
        Some(MatchType::AndMatcher(list)) => Predicate::And(all(list.predicate, "and_matcher")?),
        Some(MatchType::NotMatcher(one)) => {
            Predicate::Not(Box::new(predicate(*one, vocabulary, &cx.field("not_matcher"))?))
        }
        None => {
            cx.error("a predicate is required");
            return None;
        }
    })
}

/// The same matcher in Envoy's own message.
fn envoy_string(message: pb::StringMatcher) -> envoy::StringMatcher {
    use envoy::string_matcher::MatchPattern as To;
    use pb::string_matcher::MatchPattern as From;
    let pb::StringMatcher { ignore_case, match_pattern } = message;
    let match_pattern = match_pattern.map(|pattern| match pattern {
        From::Exact(text) => To::Exact(text),
        From::Prefix(text) => To::Prefix(text),
        From::Suffix(text) => To::Suffix(text),
        From::Contains(text) => To::Contains(text),
        From::SafeRegex(pb::RegexMatcher { regex, engine_type: _ }) => {
            To::SafeRegex(envoy::RegexMatcher { regex })
        }
    });
    envoy::StringMatcher { match_pattern, ignore_case }
}

fn tree<V: Vocabulary>(
    message: pb::matcher::MatcherTree,
    vocabulary: &V,
    cx: &CompileContext<'_>,
) -> Option<Node<V>> {
    let pb::matcher::MatcherTree { input, tree_type } = message;
    let fits = fits(input.as_ref(), false, cx);
    let input = self::input(input, vocabulary, cx).filter(|_| fits);
    let map = |map: pb::matcher::matcher_tree::MatchMap, field: &str| {
        let pb::matcher::matcher_tree::MatchMap { map } = map;
        let (cx, each) = (cx.field(field), map.into_iter());
        let cx = cx.field("map");
        each.map(|(key, message)| Some((key.as_str().into(), then(message, vocabulary, &cx.key(&key))?)))
            .collect::<Option<Vec<(Box<str>, Then<V>)>>>()
    };
    Some(match tree_type {
        Some(TreeType::ExactMatchMap(message)) => {
            let map = map(message, "exact_match_map");
            Kind::Exact(input?, map?.into_iter().collect())
        }
        Some(TreeType::PrefixMatchMap(message)) => {
            let mut map = map(message, "prefix_match_map")?;
            map.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
            Kind::Prefix(input?, map)
        }
        Some(TreeType::CustomMatch(TypedExtensionConfig { name: _, typed_config })) => {
            let cx = cx.field("custom_match");
            custom(input?, typed_config.unwrap_or_default(), vocabulary, &cx.field("typed_config"))?
        }
        None => {
            cx.error("a tree is required");
            return None;
        }
    })
}

fn custom<V: Vocabulary>(
    input: Source<V::Input>,
    any: Any,
    vocabulary: &V,
    cx: &CompileContext<'_>,
) -> Option<Node<V>> {
    let kind = type_name(&any.type_url);
    if kind == pb::IpMatcher::full_name() {
        let pb::IpMatcher { range_matchers } = cx.unpack(&any)?;
        let each = range_matchers.into_iter().enumerate().map(|(i, message)| {
            let cx = cx.item("range_matchers", i);
            let pb::ip_matcher::IpRangeMatcher { ranges, on_match, exclusive } = message;
            let ranges = CidrList::compile_xds(ranges, &cx, "ranges");
            let on_match = then(on_match.unwrap_or_default(), vocabulary, &cx.field("on_match"));
            Some(IpRanges { ranges: ranges?, exclusive, on_match: on_match? })
        });
        return each.collect::<Option<Vec<_>>>().map(|ranges| Kind::Ip(input, ranges));
    }
    if kind == pb::ServerNameMatcher::full_name() {
        let pb::ServerNameMatcher { domain_matchers } = cx.unpack(&any)?;
        let mut map = HashMap::new();
        for (i, message) in domain_matchers.into_iter().enumerate() {
            let cx = cx.item("domain_matchers", i);
            let pb::server_name_matcher::DomainMatcher { domains, on_match } = message;
            for domain in domains {
                let message = on_match.clone().unwrap_or_default();
                let then = then(message, vocabulary, &cx.field("on_match"))?;
                map.insert(domain.into(), then);
            }
        }
        return Some(Kind::Names(input, map));
    }
    cx.unsupported(format!("the matcher {} is not built", any.type_url));
    None
}
