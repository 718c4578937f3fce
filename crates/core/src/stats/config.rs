//! `stats_config`: which stats there are for readers, and which parts of a name are tags.

use crate::config::CompileContext;
use crate::matcher::StringMatcher;
use fancy_regex::Regex;
use nuncio_proto::pb::envoy::config::metrics::v3 as pb;
use nuncio_proto::pb::envoy::r#type::matcher::v3::ListStringMatcher;
use pb::stats_matcher::StatsMatcher as Choice;
use pb::tag_specifier::TagValue;
use std::sync::{Arc, LazyLock};

/// The compiled message.
#[derive(Clone, Debug)]
pub struct StatsConfig {
    names: Names,
    default_tags: bool,
    rules: Box<[Rule]>,
    buckets: Box<[(StringMatcher, Arc<[f64]>)]>,
}

/// Which names readers see.
#[derive(Clone, Debug)]
enum Names {
    All,
    None,
    /// Those that match.
    Only(Box<[StringMatcher]>),
    /// Those that do not match.
    Without(Box<[StringMatcher]>),
}

/// A tag's name and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name, with dots.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A name without its tags, and the tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagged {
    /// What is left of the name.
    pub rest: String,
    /// The tags in Envoy's order.
    pub tags: Vec<Tag>,
}

/// A rule that gives a name one tag.
#[derive(Clone, Debug)]
struct Rule {
    tag: String,
    value: Finder,
    /// The word before the first dot that a name must begin with, where the pattern says so.
    first: Option<Box<str>>,
}

/// Where a tag's value comes from.
#[derive(Clone, Debug)]
enum Finder {
    /// The pattern's second group, else its first; the first leaves the name.
    Pattern(Regex),
    /// Every name has it.
    Fixed(String),
}

/// Stats that Envoy makes before it has read any rule.
const BEFORE_CONFIG: &str = "filesystem.";

/// Envoy's default tags of the scopes that are built, in its order: tag, pattern.
const DEFAULTS: [(&str, &str); 23] = [
    ("envoy.response_code", r"_rq(_(\d{3}))$"),
    ("envoy.response_code_class", r"_rq_((\d))xx$"),
    ("envoy.worker_id", r"(?:^server|^thread_local_cluster_manager|^listener\..*)\.worker_((\d+)\.)"),
    ("envoy.ssl_cipher", r"^listener\..*?\.ssl\.ciphers(\.(.+))$"),
    ("cipher_suite", r"^cluster\..*?\.ssl\.ciphers(\.(.+))$"),
    ("envoy.ssl_curve", r"^listener\..*?\.ssl\.curves(\.(.+))$"),
    ("envoy.ssl_curve", r"^cluster\..*?\.ssl\.curves(\.(.+))$"),
    ("envoy.ssl_sigalg", r"^(?:listener|cluster)\..*?\.ssl\.sigalgs(\.(.+))$"),
    ("envoy.ssl_version", r"^listener\..*?\.ssl\.versions(\.(.+))$"),
    ("envoy.ssl_version", r"^cluster\..*?\.ssl\.versions(\.(.+))$"),
    ("envoy.tls_certificate", r"^listener\..*?\.ssl\.certificate\.((.*)\.)[^.]+$"),
    ("envoy.tls_certificate", r"^cluster\..*?\.ssl\.certificate\.((.*)\.)[^.]+$"),
    ("envoy.virtual_cluster", r"^vhost\.[^.]+\.vcluster\.(([^.]+)\.)"),
    ("envoy.virtual_host", r"^vhost\.(([^.]+)\.)"),
    ("envoy.route", r"^vhost\.[^.]+\.route\.(([^.]+)\.)"),
    ("envoy.health_check_name", r"^cluster\.[^.]+\.health_check\.(name\.([^.]+)\.)"),
    ("envoy.cluster_name", r"^cluster\.(([^.]+)\.)"),
    ("envoy.http_conn_manager_prefix", r"^http\.(([^.]+)\.)"),
    ("envoy.tcp_prefix", r"^tcp\.(([^.]+)\.)"),
    ("envoy.http_conn_manager_prefix", r"^listener\..*?\.http\.(([^.]+)\.)"),
    (
        "envoy.listener_address",
        r"^listener\.(?!admin\.)((\d+\.\d+\.\d+\.\d+_\d+|\[[_a-fA-F\d]*\]_\d+|[^.]+)\.)",
    ),
    ("envoy.rds_route_config", r"^http\.[^.]+\.rds\.((.*?)\.)\w+?$"),
    ("envoy.xds_resource_name", r"^xds\.(([^.]+)\.)"),
];

impl Rule {
    fn new(tag: &str, pattern: &str) -> Result<Self, Box<fancy_regex::Error>> {
        let word = |rest: &str| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
            rest.get(end..)?.starts_with("\\.").then(|| rest.get(..end)).flatten().map(Box::from)
        };
        let first = pattern.strip_prefix('^').and_then(word);
        Ok(Self { tag: tag.to_owned(), value: Finder::Pattern(Regex::new(pattern)?), first })
    }

    fn fixed(tag: &str, value: &str) -> Self {
        Self { tag: tag.to_owned(), value: Finder::Fixed(value.to_owned()), first: None }
    }

    fn applies(&self, first: &str) -> bool {
        self.first.as_deref().is_none_or(|f| f == first)
    }
}

impl Default for StatsConfig {
    fn default() -> Self {
        Self { names: Names::All, default_tags: true, rules: Box::default(), buckets: Box::default() }
    }
}

impl StatsConfig {
    /// The message, compiled. `None`: refused, and the reasons are recorded in `cx`.
    pub fn compile(message: &pb::StatsConfig, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::StatsConfig {
            stats_tags,
            use_all_default_tags,
            stats_matcher,
            histogram_bucket_settings,
            allow_default_tag_overrides,
        } = message;
        let default_tags = use_all_default_tags.unwrap_or(true);
        let names = match stats_matcher {
            None => Some(Names::All),
            Some(matcher) => Names::compile(matcher, &cx.field("stats_matcher")),
        };
        let (mut custom, mut good) = (Vec::new(), true);
        for (i, specifier) in stats_tags.iter().enumerate() {
            match compile_tag(specifier, default_tags, &cx.item("stats_tags", i)) {
                Some(mut rules) => custom.append(&mut rules),
                None => good = false,
            }
        }
        let bucket = |(i, m)| compile_buckets(m, &cx.item("histogram_bucket_settings", i));
        let buckets = histogram_bucket_settings.iter().enumerate().map(bucket).collect::<Option<Box<[_]>>>();
        let only_defaults = custom.is_empty() && default_tags;
        let rules = match (only_defaults, allow_default_tag_overrides) {
            (true, _) => Vec::new(),
            (false, overrides) => in_order(default_tags, custom, overrides.unwrap_or_default()),
        };
        let (names, buckets) = (names?, buckets?);
        good.then(|| Self { names, default_tags, rules: rules.into(), buckets })
    }

    /// The upper bounds of the buckets of a histogram, where configuration sets them.
    pub fn buckets(&self, name: &str) -> Option<&Arc<[f64]>> {
        let mut set = self.buckets.iter().filter(|(_, bounds)| !bounds.is_empty());
        set.find(|(m, _)| m.matches(name.as_bytes())).map(|(_, bounds)| bounds)
    }

    /// Whether configuration sets the buckets of any histogram.
    pub fn has_buckets(&self) -> bool {
        !self.buckets.is_empty()
    }

    /// Whether readers see every stat.
    pub fn shows_all(&self) -> bool {
        matches!(self.names, Names::All)
    }

    /// Whether readers see the stat of this full name.
    pub fn shows(&self, name: &str) -> bool {
        match &self.names {
            Names::All => true,
            Names::None => false,
            Names::Only(patterns) => patterns.iter().any(|p| p.matches(name.as_bytes())),
            Names::Without(patterns) => !patterns.iter().any(|p| p.matches(name.as_bytes())),
        }
    }

    /// Whether names give up their default tags, and no others: readers that know them need not ask name by
    /// name.
    pub fn has_default_tags_only(&self) -> bool {
        self.default_tags && self.rules.is_empty()
    }

    /// Takes the tags out of a full name. Each pattern is applied to the name as it stands; what their first
    /// groups cover goes. The first rule that finds a tag has it.
    pub fn extract(&self, name: &str) -> Tagged {
        let mut tags: Vec<Tag> = Vec::new();
        if name.starts_with(BEFORE_CONFIG) {
            return Tagged { rest: name.to_owned(), tags };
        }
        let mut gone = vec![false; name.len()];
        let first = name.split('.').next().unwrap_or_default();
        let rules = if self.has_default_tags_only() { &**DEFAULT_RULES } else { &*self.rules };
        for rule in rules.iter().filter(|r| r.applies(first)) {
            if tags.iter().any(|t| t.name == rule.tag) {
                continue;
            }
            let regex = match &rule.value {
                Finder::Fixed(value) => {
                    tags.push(Tag { name: rule.tag.clone(), value: value.clone() });
                    continue;
                }
                Finder::Pattern(regex) => regex,
            };
            // A pattern that gives up on a name finds nothing in it.
            let Ok(Some(captures)) = regex.captures(name) else { continue };
            if captures.len() < 2 {
                continue;
            }
            let removed = captures.get(1);
            let value = captures.get(2).or(removed).map_or("", |m| m.as_str());
            tags.push(Tag { name: rule.tag.clone(), value: value.to_owned() });
            let range = removed.map_or(0..0, |m| m.range());
            gone.get_mut(range).into_iter().flatten().for_each(|g| *g = true);
        }
        let kept = name.bytes().zip(gone).filter(|(_, gone)| !gone).map(|(b, _)| b);
        let rest = String::from_utf8_lossy(&kept.collect::<Vec<_>>()).into_owned();
        Tagged { rest, tags }
    }
}

/// The rules of Envoy's default tags, in order.
static DEFAULT_RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| in_order(true, Vec::new(), false));

impl Names {
    fn compile(message: &pb::StatsMatcher, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::StatsMatcher { stats_matcher } = message;
        let list = |ListStringMatcher { patterns }: &ListStringMatcher, cx: &CompileContext<'_>| {
            let one = |(i, p)| StringMatcher::compile(p, &cx.item("patterns", i));
            patterns.iter().enumerate().map(one).collect::<Option<Box<[_]>>>()
        };
        Some(match stats_matcher {
            None | Some(Choice::RejectAll(false)) => Self::All,
            Some(Choice::RejectAll(true)) => Self::None,
            Some(Choice::InclusionList(l)) => Self::Only(list(l, &cx.field("inclusion_list"))?),
            Some(Choice::ExclusionList(l)) => Self::Without(list(l, &cx.field("exclusion_list"))?),
        })
    }
}

fn compile_buckets(
    message: &pb::HistogramBucketSettings,
    cx: &CompileContext<'_>,
) -> Option<(StringMatcher, Arc<[f64]>)> {
    let pb::HistogramBucketSettings { r#match, buckets } = message;
    let matcher_cx = cx.field("match");
    let Some(matcher) = r#match else {
        matcher_cx.error("value is required");
        return None;
    };
    let mut bounds = buckets.clone();
    bounds.sort_by(f64::total_cmp);
    Some((StringMatcher::compile(matcher, &matcher_cx)?, bounds.into()))
}

fn compile_tag(message: &pb::TagSpecifier, all_defaults: bool, cx: &CompileContext<'_>) -> Option<Vec<Rule>> {
    let pb::TagSpecifier { tag_name, tag_value } = message;
    if tag_name.is_empty() {
        cx.field("tag_name").error("tag_name cannot be empty");
        return None;
    }
    match tag_value {
        Some(TagValue::FixedValue(value)) => Some(vec![Rule::fixed(tag_name, value)]),
        Some(TagValue::Regex(pattern)) if !pattern.is_empty() => match Rule::new(tag_name, pattern) {
            Ok(rule) => Some(vec![rule]),
            Err(error) => {
                cx.field("regex").error(format!("Invalid regex '{pattern}': {error}"));
                None
            }
        },
        None | Some(TagValue::Regex(_)) => {
            let default = DEFAULTS.iter().filter(|(name, _)| name == tag_name);
            let rules: Vec<_> = default.filter_map(|(name, pattern)| Rule::new(name, pattern).ok()).collect();
            if rules.is_empty() {
                cx.error(format!(
                    "No regex specified for tag specifier and no default regex for name: '{tag_name}'"
                ));
                return None;
            }
            Some(if all_defaults { Vec::new() } else { rules })
        }
    }
}

/// Envoy asks the rules that may match any name first, then those that name their first word; default ones
/// first in each group. With `overrides`, a default gives way to custom rules of its tag.
fn in_order(default_tags: bool, custom: Vec<Rule>, overrides: bool) -> Vec<Rule> {
    let kept = |tag: &str| default_tags && !(overrides && custom.iter().any(|r| r.tag == tag));
    let defaults: Vec<Rule> = DEFAULTS
        .iter()
        .filter(|(tag, _)| kept(tag))
        .filter_map(|(tag, pattern)| Rule::new(tag, pattern).ok())
        .collect();
    let (mut any, mut worded): (Vec<_>, Vec<_>) =
        defaults.into_iter().chain(custom).partition(|r| r.first.is_none());
    any.append(&mut worded);
    any
}

#[cfg(test)]
mod tests;
