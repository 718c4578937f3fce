//! The messages of jwt_authn.

use super::cache::CacheConfig;
use super::keys::KeySet;
use super::places::{At, Places};
use super::remote::Remote;
use nuncio_core::config::{CompileContext, data_source, duration};
use nuncio_core::matcher::StringMatcher;
use nuncio_downstream::route::RequestMatcher;
use nuncio_proto::pb::envoy::config::core::v3::{HttpUri, http_uri};
use nuncio_proto::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;
use nuncio_upstream::call::{Caller, Retries};
use pb::jwt_provider::JwksSourceSpecifier;
use pb::jwt_requirement::RequiresType;
use pb::requirement_rule::RequirementType;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// What is tried again of fetches, whatever their policy says.
const RETRIED: &str = "5xx,gateway-error,connect-failure,reset";

/// A compiled `JwtAuthentication`.
pub(super) struct Settings {
    /// In the order of their names.
    pub(super) providers: Box<[Provider]>,
    /// The first that holds says what is required; `None`: nothing.
    pub(super) rules: Box<[(RequestMatcher, Option<Arc<Requirement>>)]>,
    /// `requirement_map`
    pub(super) by_name: BTreeMap<Box<str>, Option<Arc<Requirement>>>,
    pub(super) by_state: Option<ByState>,
    pub(super) bypasses_preflights: bool,
    pub(super) strips_failures: bool,
    /// `PREFIX.`, or nothing.
    pub(super) stat_infix: Box<str>,
}

/// `filter_state_rules`: requirements by what a filter has said.
pub(super) struct ByState {
    pub(super) key: Box<str>,
    pub(super) requirements: HashMap<Box<str>, Option<Arc<Requirement>>>,
}

/// A compiled `JwtProvider`.
pub(super) struct Provider {
    pub(super) issuer: Box<str>,
    pub(super) audiences: Audiences,
    pub(super) subjects: Option<StringMatcher>,
    pub(super) must_expire: bool,
    /// In seconds.
    pub(super) longest_life: Option<u64>,
    pub(super) clock_skew: u64,
    pub(super) keys: Keys,
    places: Arc<Places>,
    pub(super) forwards: bool,
    /// `forward_payload_header`, and whether what it says is padded.
    pub(super) payload_header: Option<(Box<str>, bool)>,
    pub(super) claims: Box<[ClaimHeader]>,
    pub(super) metadata: MetadataNames,
    /// Claims that become lists of words in the metadata.
    pub(super) space_delimited: Box<[String]>,
    pub(super) clears_route: bool,
    pub(super) cache: Option<CacheConfig>,
}

/// Names of what a provider leaves in the dynamic metadata; empty: nothing.
pub(super) struct MetadataNames {
    pub(super) payload: String,
    pub(super) header: String,
    pub(super) failure: String,
}

/// A header that a claim becomes.
pub(super) struct ClaimHeader {
    pub(super) header: Box<str>,
    /// Names from the payload down to the claim.
    pub(super) path: Box<[String]>,
}

/// Where keys come from.
pub(super) enum Keys {
    /// `None`: there are none.
    Local(Option<Arc<KeySet>>),
    Remote(Arc<Remote>),
}

/// Whom tokens may be for.
pub(super) struct Audiences(Box<[Box<str>]>);

impl Audiences {
    fn new(list: &[String]) -> Self {
        Self(list.iter().map(|audience| bare(audience).into()).collect())
    }

    /// Whether a token for these may be used; an empty list takes all.
    pub(super) fn allow(&self, of_token: &[Box<str>]) -> bool {
        self.0.is_empty() || of_token.iter().any(|audience| self.0.iter().any(|own| &**own == bare(audience)))
    }
}

/// An audience without its scheme and a slash at its end, which do not count.
fn bare(audience: &str) -> &str {
    let rest = audience.strip_prefix("http://").or_else(|| audience.strip_prefix("https://"));
    let rest = rest.unwrap_or(audience);
    rest.strip_suffix('/').unwrap_or(rest)
}

/// A compiled `JwtRequirement`.
pub(super) enum Requirement {
    Any(Box<[Requirement]>),
    All(Box<[Requirement]>),
    Tokens(Leaf),
}

/// A part of a requirement that looks at tokens.
pub(super) struct Leaf {
    /// What it is called among all of the filter.
    pub(super) number: usize,
    /// Whose tokens; `None`: those of any provider, which their issuer tells.
    pub(super) provider: Option<usize>,
    /// Who looks at the places, and writes headers that nobody else may write.
    pub(super) providers: Box<[usize]>,
    /// Whom they may be for, where it is not as the provider says.
    pub(super) audiences: Option<Audiences>,
    pub(super) places: Arc<Places>,
    pub(super) leniency: Leniency,
    /// A header that says `false` of tokens that failed.
    pub(super) status_header: Option<Box<str>>,
}

/// What is let pass without a good token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leniency {
    Nothing,
    /// `allow_missing`
    Missing,
    /// `allow_missing_or_failed`
    Failed,
    /// `extract_only_without_validation`
    Extract,
}

impl Settings {
    /// `own` is what the filter's requests have in common.
    pub(super) fn compile(
        message: pb::JwtAuthentication,
        own: &Caller,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        let pb::JwtAuthentication {
            providers,
            rules,
            filter_state_rules,
            bypass_cors_preflight,
            requirement_map,
            strip_failure_response,
            stat_prefix,
        } = message;
        let of_providers = cx.field("providers");
        let mut names: Vec<(String, pb::JwtProvider)> = providers.into_iter().collect();
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (names, messages): (Vec<String>, Vec<pb::JwtProvider>) = names.into_iter().unzip();
        let compiled = names
            .iter()
            .zip(messages)
            .map(|(name, message)| Provider::compile(name, message, own, &of_providers.key(name)));
        // All of them, so that every mistake is told.
        let compiled: Vec<Option<Provider>> = compiled.collect();
        let providers = compiled.into_iter().collect::<Option<Box<[Provider]>>>()?;
        let trees = Trees::new(&names, &providers);
        let of_map = cx.field("requirement_map");
        let mut by_name = BTreeMap::new();
        for (name, message) in requirement_map {
            let tree = trees.compile_root(message, &of_map.key(&name))?;
            by_name.insert(name.into(), tree);
        }
        let by_state = match filter_state_rules {
            None => None,
            Some(message) => Some(ByState::compile(message, &trees, &cx.field("filter_state_rules"))?),
        };
        let rules = rules
            .into_iter()
            .enumerate()
            .map(|(i, message)| compile_rule(message, &trees, &by_name, &cx.item("rules", i)));
        Some(Self {
            rules: rules.collect::<Option<_>>()?,
            providers,
            by_name,
            by_state,
            bypasses_preflights: bypass_cors_preflight,
            strips_failures: strip_failure_response,
            stat_infix: if stat_prefix.is_empty() { "".into() } else { format!("{stat_prefix}.").into() },
        })
    }

    /// Why a route's name for a requirement means nothing.
    pub(super) fn unknown_name(&self, name: &str) -> String {
        unknown_name(name, &self.by_name)
    }

    /// The provider of tokens from this issuer, or else the first of tokens from anybody.
    pub(super) fn provider_of(&self, issuer: &str) -> Option<usize> {
        let find = |issuer: &str| self.providers.iter().position(|provider| &*provider.issuer == issuer);
        find(issuer).or_else(|| find(""))
    }
}

fn unknown_name<T>(name: &str, known: &BTreeMap<Box<str>, T>) -> String {
    let known: Vec<&str> = known.keys().map(|name| &**name).collect();
    format!("Wrong requirement_name: {name}. It should be one of [{}]", known.join(","))
}

fn compile_rule(
    message: pb::RequirementRule,
    trees: &Trees<'_>,
    by_name: &BTreeMap<Box<str>, Option<Arc<Requirement>>>,
    cx: &CompileContext<'_>,
) -> Option<(RequestMatcher, Option<Arc<Requirement>>)> {
    let pb::RequirementRule { r#match, requirement_type } = message;
    let matcher = RequestMatcher::compile(r#match?, &cx.field("match"))?;
    let requirement = match requirement_type {
        None => None,
        Some(RequirementType::Requires(message)) => trees.compile_root(message, &cx.field("requires"))?,
        Some(RequirementType::RequirementName(name)) => match by_name.get(&*name) {
            Some(requirement) => requirement.clone(),
            None => {
                cx.field("requirement_name").error(unknown_name(&name, by_name));
                return None;
            }
        },
    };
    Some((matcher, requirement))
}

impl ByState {
    fn compile(message: pb::FilterStateRule, trees: &Trees<'_>, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::FilterStateRule { name, requires } = message;
        let cx = cx.field("requires");
        let requirements = requires.into_iter().map(|(value, message)| {
            let tree = trees.compile_root(message, &cx.key(&value))?;
            Some((value.into(), tree))
        });
        Some(Self { key: name.into(), requirements: requirements.collect::<Option<_>>()? })
    }
}

/// What requirements are compiled with.
struct Trees<'p> {
    names: &'p [String],
    providers: &'p [Provider],
    /// Leaves so far.
    leaves: Cell<usize>,
}

impl<'p> Trees<'p> {
    fn new(names: &'p [String], providers: &'p [Provider]) -> Self {
        Self { names, providers, leaves: Cell::new(0) }
    }

    /// `Some(None)`: nothing is required.
    fn compile_root(
        &self,
        message: pb::JwtRequirement,
        cx: &CompileContext<'_>,
    ) -> Option<Option<Arc<Requirement>>> {
        if message.requires_type.is_none() {
            return Some(None);
        }
        Some(Some(Arc::new(self.compile(message, cx)?)))
    }

    fn compile(&self, message: pb::JwtRequirement, cx: &CompileContext<'_>) -> Option<Requirement> {
        let pb::JwtRequirement { requires_type } = message;
        let list = |list: Vec<pb::JwtRequirement>, field: &str| -> Option<Box<[Requirement]>> {
            let cx = cx.field(field);
            list.into_iter()
                .enumerate()
                .map(|(i, message)| self.compile(message, &cx.item("requirements", i)))
                .collect()
        };
        Some(match requires_type {
            Some(RequiresType::ProviderName(name)) => self.of_provider(&name, None, cx)?,
            Some(RequiresType::ProviderAndAudiences(message)) => {
                let pb::ProviderWithAudiences { provider_name, audiences } = message;
                let audiences = (!audiences.is_empty()).then(|| Audiences::new(&audiences));
                self.of_provider(&provider_name, audiences, &cx.field("provider_and_audiences"))?
            }
            Some(RequiresType::RequiresAny(pb::JwtRequirementOrList { requirements })) => {
                Requirement::Any(self.lenient_last(list(requirements, "requires_any")?))
            }
            Some(RequiresType::RequiresAll(pb::JwtRequirementAndList { requirements })) => {
                Requirement::All(list(requirements, "requires_all")?)
            }
            Some(RequiresType::AllowMissing(())) => self.lenient(Leniency::Missing, None, &[]),
            Some(RequiresType::AllowMissingOrFailed(())) => self.lenient(Leniency::Failed, None, &[]),
            Some(RequiresType::ExtractOnlyWithoutValidation(message)) => {
                let pb::ExtractOnlyWithoutValidation { verification_status_header: header } = message;
                let header = (!header.is_empty()).then(|| header.to_ascii_lowercase().into());
                self.lenient(Leniency::Extract, header, &[])
            }
            None => {
                cx.error("a requirement in a list has to say what it requires");
                return None;
            }
        })
    }

    fn number(&self) -> usize {
        self.leaves.replace(self.leaves.get() + 1)
    }

    fn of_provider(
        &self,
        name: &str,
        audiences: Option<Audiences>,
        cx: &CompileContext<'_>,
    ) -> Option<Requirement> {
        let found = self.names.iter().position(|own| own == name);
        let Some((at, provider)) = found.and_then(|at| Some((at, self.providers.get(at)?))) else {
            cx.field("provider_name").error(format!("Required provider ['{name}'] is not configured."));
            return None;
        };
        Some(Requirement::Tokens(Leaf {
            number: self.number(),
            provider: Some(at),
            providers: [at].into(),
            audiences,
            places: Arc::clone(&provider.places),
            leniency: Leniency::Nothing,
            status_header: None,
        }))
    }

    /// A part that lets tokens of `providers` be missing; of all where there are none.
    fn lenient(
        &self,
        leniency: Leniency,
        status_header: Option<Box<str>>,
        providers: &[usize],
    ) -> Requirement {
        let providers: Box<[usize]> =
            if providers.is_empty() { (0..self.providers.len()).collect() } else { providers.into() };
        let of = providers.iter().filter_map(|at| self.providers.get(*at));
        Requirement::Tokens(Leaf {
            number: self.number(),
            provider: None,
            audiences: None,
            places: Arc::new(Places::new(of.flat_map(|provider| provider.places.all()))),
            providers,
            leniency,
            status_header,
        })
    }

    /// Of the parts that let tokens be missing only the most lenient counts, after all others and for the tokens that
    /// those want, as in Envoy.
    fn lenient_last(&self, list: Box<[Requirement]>) -> Box<[Requirement]> {
        let mut rest = Vec::with_capacity(list.len());
        let mut last = None;
        for requirement in list {
            match &requirement {
                Requirement::Tokens(Leaf { leniency: Leniency::Failed, .. }) => last = Some(Leniency::Failed),
                Requirement::Tokens(Leaf { leniency: Leniency::Missing, .. }) => {
                    last.get_or_insert(Leniency::Missing);
                }
                _ => rest.push(requirement),
            }
        }
        if let Some(leniency) = last {
            let mut named = Vec::new();
            rest.iter().for_each(|requirement| requirement.named(&mut named));
            rest.push(self.lenient(leniency, None, &named));
        }
        rest.into()
    }
}

impl Requirement {
    /// The providers that it names.
    fn named(&self, names: &mut Vec<usize>) {
        match self {
            Self::Any(list) | Self::All(list) => list.iter().for_each(|part| part.named(names)),
            Self::Tokens(leaf) => names.extend(leaf.provider),
        }
    }
}

impl Provider {
    fn compile(name: &str, message: pb::JwtProvider, own: &Caller, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::JwtProvider {
            issuer,
            audiences,
            forward,
            from_headers,
            from_params,
            forward_payload_header,
            payload_in_metadata,
            clock_skew_seconds,
            pad_forward_payload_header,
            jwt_cache_config,
            from_cookies,
            header_in_metadata,
            claim_to_headers,
            failed_status_in_metadata,
            clear_route_cache,
            normalize_payload_in_metadata,
            subjects,
            require_expiration,
            max_lifetime,
            jwks_source_specifier,
        } = message;
        let issuer: Box<str> = issuer.into();
        let at = places(from_headers, from_params, from_cookies);
        let pb::jwt_provider::NormalizePayload { space_delimited_claims } =
            normalize_payload_in_metadata.unwrap_or_default();
        let claims = claim_to_headers
            .into_iter()
            .enumerate()
            .map(|(i, message)| ClaimHeader::compile(message, &cx.item("claim_to_headers", i)));
        Some(Self {
            keys: Keys::compile(name, jwks_source_specifier, own, cx)?,
            audiences: Audiences::new(&audiences),
            subjects: match subjects {
                None => None,
                Some(subjects) => Some(StringMatcher::compile(&subjects, &cx.field("subjects"))?),
            },
            must_expire: require_expiration,
            longest_life: match max_lifetime {
                None => None,
                Some(life) => Some(duration(&life, &cx.field("max_lifetime"))?.as_secs()),
            },
            // What Envoy takes where nothing is said.
            clock_skew: if clock_skew_seconds == 0 { 60 } else { clock_skew_seconds.into() },
            places: Arc::new(Places::new(at.into_iter().map(|at| (issuer.clone(), at)))),
            issuer,
            forwards: forward,
            payload_header: (!forward_payload_header.is_empty())
                .then(|| (forward_payload_header.to_ascii_lowercase().into(), pad_forward_payload_header)),
            claims: claims.collect::<Option<_>>()?,
            metadata: MetadataNames {
                payload: payload_in_metadata,
                header: header_in_metadata,
                failure: failed_status_in_metadata,
            },
            space_delimited: space_delimited_claims.into(),
            clears_route: clear_route_cache,
            cache: jwt_cache_config.map(|pb::JwtCacheConfig { jwt_cache_size, jwt_max_token_size }| {
                let or = |n: u32, usual: usize| if n == 0 { usual } else { n as usize };
                CacheConfig { size: or(jwt_cache_size, 100), longest: or(jwt_max_token_size, 4096) }
            }),
        })
    }
}

/// The places of a provider; where none is named, `authorization` and the parameter `access_token`.
fn places(headers: Vec<pb::JwtHeader>, params: Vec<String>, cookies: Vec<String>) -> Vec<At> {
    let mut places = Vec::with_capacity(headers.len() + params.len() + cookies.len());
    places.extend(headers.into_iter().map(|pb::JwtHeader { name, value_prefix }| {
        At::Header(name.to_ascii_lowercase().into(), value_prefix.into())
    }));
    places.extend(params.into_iter().map(|name| At::Parameter(name.into())));
    places.extend(cookies.into_iter().map(|name| At::Cookie(name.into())));
    if places.is_empty() {
        places.push(At::Header("authorization".into(), "Bearer ".into()));
        places.push(At::Parameter("access_token".into()));
    }
    places
}

impl ClaimHeader {
    fn compile(message: pb::JwtClaimToHeader, cx: &CompileContext<'_>) -> Option<Self> {
        let pb::JwtClaimToHeader { header_name, claim_name, claim_path } = message;
        if claim_name.is_empty() == claim_path.is_empty() {
            cx.error("exactly one of claim_name and claim_path has to be set");
            return None;
        }
        let path = match claim_path.is_empty() {
            true => claim_name.split('.').map(str::to_owned).collect(),
            false => claim_path.into_iter().map(|pb::jwt_claim_to_header::PathSegment { key }| key).collect(),
        };
        Some(Self { header: header_name.to_ascii_lowercase().into(), path })
    }
}

impl Keys {
    fn compile(
        provider: &str,
        message: Option<JwksSourceSpecifier>,
        own: &Caller,
        cx: &CompileContext<'_>,
    ) -> Option<Self> {
        match message {
            Some(JwksSourceSpecifier::LocalJwks(source)) => {
                let cx = cx.field("local_jwks");
                let text = data_source(&source, &cx)?;
                if text.is_empty() {
                    return Some(Self::Local(None));
                }
                match KeySet::parse(&text) {
                    Ok(keys) => Some(Self::Local(Some(Arc::new(keys)))),
                    Err(error) => {
                        cx.error(format!(
                            "Provider '{provider}' in jwt_authn config has invalid local jwks: {error}"
                        ));
                        None
                    }
                }
            }
            Some(JwksSourceSpecifier::RemoteJwks(message)) => {
                let remote = compile_remote(message, own, &cx.field("remote_jwks"))?;
                Some(Self::Remote(Arc::new(remote)))
            }
            None => {
                cx.error("jwks_source_specifier: value is required");
                None
            }
        }
    }
}

fn compile_remote(message: pb::RemoteJwks, own: &Caller, cx: &CompileContext<'_>) -> Option<Remote> {
    let pb::RemoteJwks { http_uri, cache_duration, async_fetch, retry_policy } = message;
    let HttpUri { uri, timeout, http_upstream_type } = http_uri?;
    let http_uri::HttpUpstreamType::Cluster(cluster) = http_upstream_type?;
    let rest = uri.split_once("://").map_or(&*uri, |(_, rest)| rest);
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let or = |value: Option<&prost_types::Duration>, usual, field| match value {
        None => Some(usual),
        Some(value) => duration(value, &cx.field(field)),
    };
    let ahead = match async_fetch {
        None => None,
        Some(pb::JwksAsyncFetch { fast_listener: _, failed_refetch_duration }) => {
            // A listener never waits for keys: requests that need them do.
            let cx = cx.field("async_fetch");
            match failed_refetch_duration {
                None => Some(Duration::from_secs(1)),
                Some(pause) => Some(duration(&pause, &cx.field("failed_refetch_duration"))?),
            }
        }
    };
    Some(Remote {
        cluster: cluster.into(),
        authority: authority.into(),
        path: if path.is_empty() { "/" } else { path }.into(),
        own_address: own.own_address.to_string().into(),
        timeout: duration(&timeout?, &cx.field("http_uri").field("timeout"))?,
        retries: match retry_policy {
            None => None,
            Some(policy) => {
                let cx = cx.field("retry_policy");
                let retries = Retries::compile(policy, Some(RETRIED), &cx, &own.retry_plugins)?;
                if !retries.grow() {
                    let cx = cx.field("retry_back_off");
                    cx.error("max_interval must be greater than or equal to the base_interval");
                    return None;
                }
                Some(retries)
            }
        },
        lasts: or(cache_duration.as_ref(), Duration::from_secs(300), "cache_duration")?,
        ahead,
        kept: RwLock::new(None),
    })
}
