//! `InternalRedirectPolicy`: which of an upstream's redirects are followed here, instead of by the client.

use nuncio_core::config::{CompileContext, type_name};
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::config::route::v3::InternalRedirectPolicy;
use nuncio_proto::pb::envoy::extensions::internal_redirect::allow_listed_routes::v3::AllowListedRoutesConfig;
use nuncio_proto::pb::envoy::extensions::internal_redirect::previous_routes::v3::PreviousRoutesConfig;
use nuncio_proto::pb::envoy::extensions::internal_redirect::safe_cross_scheme::v3::SafeCrossSchemeConfig;
use prost::Name;
use std::fmt;
use std::sync::Arc;

/// A compiled `InternalRedirectPolicy`.
#[derive(Debug)]
pub struct InternalRedirects {
    /// `max_internal_redirects`, 1 where it is not set: of one request in all.
    pub most: u32,
    /// `allow_cross_scheme_redirect`
    pub cross_scheme: bool,
    /// `response_headers_to_copy`, in lower case: the next request has them as the redirect had, or not at all.
    pub copied: Box<[Box<str>]>,
    codes: Box<[u16]>,
    predicates: Box<[Predicate]>,
}

/// One of `predicates`.
#[derive(Debug)]
enum Predicate {
    /// From one route each other one is redirected to once.
    PreviousRoutes,
    /// The next route has one of these names.
    AllowListed(Box<[String]>),
    /// Never from `http` to `https`.
    SafeCrossScheme,
}

/// Redirects of one request so far: from which route to which.
pub type Followed = Vec<(Arc<str>, Arc<str>)>;

impl InternalRedirects {
    /// Compiles the message. `None`: refused, and the reasons are recorded.
    pub(super) fn compile(message: InternalRedirectPolicy, cx: &CompileContext<'_>) -> Option<Arc<Self>> {
        let InternalRedirectPolicy {
            max_internal_redirects,
            redirect_response_codes,
            predicates,
            allow_cross_scheme_redirect,
            response_headers_to_copy,
        } = message;
        // As in Envoy, other codes are left out without a word.
        let codes = match redirect_response_codes.as_slice() {
            [] => vec![302],
            some => {
                some.iter().filter_map(|code| u16::try_from(*code).ok()).filter(|c| follows(*c)).collect()
            }
        };
        let mut good = true;
        let mut copied = Vec::with_capacity(response_headers_to_copy.len());
        for (i, name) in response_headers_to_copy.into_iter().enumerate() {
            let name = name.to_ascii_lowercase();
            if name.starts_with(':') || name == "host" {
                cx.item("response_headers_to_copy", i)
                    .error(":-prefixed headers or Hosts may not be specified here.");
                good = false;
            }
            copied.push(name.into());
        }
        let count = predicates.len();
        let compiled: Vec<Predicate> = (0..)
            .zip(predicates)
            .filter_map(|(i, predicate)| Predicate::compile(predicate, &cx.item("predicates", i)))
            .collect();
        (good && compiled.len() == count).then(|| {
            Arc::new(Self {
                most: max_internal_redirects.unwrap_or(1),
                cross_scheme: allow_cross_scheme_redirect,
                copied: copied.into(),
                codes: codes.into(),
                predicates: compiled.into(),
            })
        })
    }

    /// What the older `internal_redirect_action` and `max_internal_redirects` say.
    pub(super) fn of_any(most: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            most: most.unwrap_or(1),
            cross_scheme: false,
            copied: Box::default(),
            codes: [302].into(),
            predicates: Box::default(),
        })
    }

    /// Whether an answer with this status is followed.
    pub fn wants(&self, status: u16) -> bool {
        self.codes.contains(&status)
    }

    /// Whether all predicates let a request of route `from` go on to route `to`; it counts as having gone then. What is
    /// secure is told of the client's connection and of the target.
    pub fn accept(
        &self,
        from: &Arc<str>,
        to: &Arc<str>,
        secure: (bool, bool),
        followed: &mut Followed,
    ) -> bool {
        self.predicates.iter().all(|predicate| match predicate {
            Predicate::PreviousRoutes => {
                let known = followed.iter().any(|(a, b)| a == from && b == to);
                if !known {
                    followed.push((Arc::clone(from), Arc::clone(to)));
                }
                !known
            }
            Predicate::AllowListed(names) => names.iter().any(|name| **name == **to),
            Predicate::SafeCrossScheme => secure.0 || !secure.1,
        })
    }
}

impl fmt::Display for InternalRedirects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { most, cross_scheme, copied, codes, predicates } = self;
        let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
        let schemes = if *cross_scheme { "" } else { ", to the same scheme" };
        write!(f, "{} are followed here, {most} at most{schemes}", codes.join(", "))?;
        for predicate in predicates {
            match predicate {
                Predicate::PreviousRoutes => f.write_str(", to each route once")?,
                Predicate::AllowListed(names) => write!(f, ", to the routes {}", names.join(", "))?,
                Predicate::SafeCrossScheme => f.write_str(", never from http to https")?,
            }
        }
        if !copied.is_empty() {
            write!(f, "; of the answer go on: {}", copied.join(", "))?;
        }
        Ok(())
    }
}

/// Whether a redirect with this status can be followed at all.
fn follows(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

impl Predicate {
    fn compile(message: TypedExtensionConfig, cx: &CompileContext<'_>) -> Option<Self> {
        let TypedExtensionConfig { name, typed_config } = message;
        let any = typed_config.unwrap_or_default();
        let at = cx.field("typed_config");
        match type_name(&any.type_url) {
            kind if kind == PreviousRoutesConfig::full_name() => {
                at.unpack(&any).map(|PreviousRoutesConfig {}| Self::PreviousRoutes)
            }
            kind if kind == SafeCrossSchemeConfig::full_name() => {
                at.unpack(&any).map(|SafeCrossSchemeConfig {}| Self::SafeCrossScheme)
            }
            kind if kind == AllowListedRoutesConfig::full_name() => {
                let AllowListedRoutesConfig { allowed_route_names } = at.unpack(&any)?;
                Some(Self::AllowListed(allowed_route_names.into()))
            }
            _ => {
                cx.error(format!(
                    "Didn't find a registered implementation for '{name}' with type URL: '{}'",
                    any.type_url
                ));
                None
            }
        }
    }
}
