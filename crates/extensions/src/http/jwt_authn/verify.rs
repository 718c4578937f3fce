//! One request's tokens against what is required of them.

use super::compile::{Leaf, Leniency, Provider, Requirement};
use super::failure::Failure;
use super::keys::KeySet;
use super::places::Found;
use super::remote::{Fetching, NoKeys};
use super::token::Token;
use super::writing;
use super::{KeysNow, Live};
use nuncio_downstream::filter::Request;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::UNIX_EPOCH;

/// What came of a requirement, or of a token.
type Verdict = Result<(), Failure>;

/// How far a request is.
#[derive(Default)]
pub(super) struct Verification {
    /// The leaves that were begun, by their numbers.
    leaves: Vec<(usize, Progress)>,
    /// A claim cannot stand in the header that it should become.
    pub(super) invalid_header: Option<Box<str>>,
}

enum Progress {
    Done(Verdict),
    Going(Run),
}

/// A leaf's tokens that are left, the next one at the end; and the one that waits for keys.
struct Run {
    tokens: Vec<Found>,
    waits: Option<Waiting>,
}

struct Waiting {
    found: Found,
    token: Rc<Token>,
    provider: usize,
    keys: Fetching,
}

/// What a token that was looked at comes to.
enum Checked {
    Good(Good),
    /// The failure, and whose token it is where that is known.
    Bad(Option<usize>, Failure),
    Waits(Waiting),
}

/// A token that holds.
struct Good {
    found: Found,
    token: Rc<Token>,
    provider: usize,
    /// It was verified by an earlier request.
    known: bool,
}

/// Who verifies, and what.
pub(super) struct Case<'a, 'r> {
    pub(super) live: &'a Live,
    pub(super) request: &'a mut Request<'r>,
}

impl Verification {
    /// Goes as far as it can: ready when it is known what comes of the requirement.
    pub(super) fn poll(
        &mut self,
        requirement: &Requirement,
        case: &mut Case<'_, '_>,
        cx: &mut Context<'_>,
    ) -> Poll<Verdict> {
        match requirement {
            Requirement::Tokens(leaf) => self.poll_leaf(leaf, case, cx),
            Requirement::All(list) => {
                let mut waits = false;
                for requirement in list {
                    match self.poll(requirement, case, cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(failed) => return Poll::Ready(failed),
                        Poll::Pending => waits = true,
                    }
                }
                if waits { Poll::Pending } else { Poll::Ready(Ok(())) }
            }
            Requirement::Any(list) => {
                let (mut waits, mut worst) = (false, Failure::Missing);
                for requirement in list {
                    match self.poll(requirement, case, cx) {
                        Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                        // What says more than that the token was for somebody else.
                        Poll::Ready(Err(failure)) => {
                            let says_little = matches!(failure, Failure::Missing | Failure::UnknownIssuer);
                            if !says_little || worst == Failure::Missing {
                                worst = failure;
                            }
                        }
                        Poll::Pending => waits = true,
                    }
                }
                if waits { Poll::Pending } else { Poll::Ready(Err(worst)) }
            }
        }
    }

    fn poll_leaf(&mut self, leaf: &Leaf, case: &mut Case<'_, '_>, cx: &mut Context<'_>) -> Poll<Verdict> {
        let at = match self.leaves.iter().position(|(number, _)| *number == leaf.number) {
            Some(at) => at,
            None => {
                let progress = case.begin(leaf);
                self.leaves.push((leaf.number, progress));
                self.leaves.len() - 1
            }
        };
        let Self { leaves, invalid_header } = self;
        let Some((_, progress)) = leaves.get_mut(at) else { return Poll::Pending };
        let run = match progress {
            Progress::Done(verdict) => return Poll::Ready(*verdict),
            Progress::Going(run) => run,
        };
        loop {
            let checked = match run.waits.take() {
                Some(mut waiting) => match waiting.keys.as_mut().poll(cx) {
                    Poll::Ready(keys) => waiting.with(keys),
                    Poll::Pending => {
                        run.waits = Some(waiting);
                        return Poll::Pending;
                    }
                },
                None => match run.tokens.pop() {
                    Some(found) => case.check(leaf, found),
                    None => return Poll::Pending,
                },
            };
            let (provider, verdict) = match checked {
                Checked::Good(good) => {
                    let provider = Some(good.provider);
                    case.take(leaf, good, invalid_header);
                    (provider, Ok(()))
                }
                Checked::Bad(provider, failure) => (provider, Err(failure)),
                Checked::Waits(waiting) => {
                    run.waits = Some(waiting);
                    continue;
                }
            };
            // All tokens of a request have to be good, lest the upstream looks at another one than we did; of lenient
            // parts, as in Envoy, only the last one looked at decides.
            if run.tokens.is_empty() || verdict.is_err() && leaf.leniency == Leniency::Nothing {
                let verdict = case.finish(leaf, provider, verdict);
                *progress = Progress::Done(verdict);
                return Poll::Ready(verdict);
            }
            case.note(provider, verdict);
        }
    }
}

impl Case<'_, '_> {
    fn provider(&self, at: usize) -> Option<&Provider> {
        self.live.settings.providers.get(at)
    }

    /// A leaf begins: headers that its providers write come from nobody else.
    fn begin(&mut self, leaf: &Leaf) -> Progress {
        let live = self.live;
        for provider in leaf.providers.iter().filter_map(|at| live.settings.providers.get(*at)) {
            writing::clean(provider, self.request.head);
        }
        let tokens = leaf.places.find(self.request.head);
        if tokens.is_empty() {
            return Progress::Done(self.finish(leaf, None, Err(Failure::Missing)));
        }
        Progress::Going(Run { tokens, waits: None })
    }

    /// Looks at one token.
    fn check(&mut self, leaf: &Leaf, found: Found) -> Checked {
        let live = self.live;
        let now = live.world.worker.wall().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let cached = leaf.provider.and_then(|at| live.cached(at, &found.text, now));
        let known = cached.is_some();
        let token = match cached.map_or_else(|| Token::parse(&found.text).map(Rc::new), Ok) {
            Ok(token) => token,
            Err(failure) => return Checked::Bad(leaf.provider, failure),
        };
        if !leaf.places.allow(&found, &token.issuer) {
            return Checked::Bad(leaf.provider, Failure::UnknownIssuer);
        }
        let at = leaf.provider.or_else(|| live.settings.provider_of(&token.issuer));
        let Some((at, provider)) = at.and_then(|at| Some((at, self.provider(at)?))) else {
            return Checked::Bad(None, Failure::UnknownIssuer);
        };
        if let Err(failure) = claims_hold(leaf, provider, &token, now) {
            return Checked::Bad(Some(at), failure);
        }
        let verdict = match live.keys(at) {
            _ if known => Ok(()),
            KeysNow::Here(keys) => keys.verify(&token),
            KeysNow::Nowhere => Err(Failure::NoKeys),
            KeysNow::Asked(keys) => return Checked::Waits(Waiting { found, token, provider: at, keys }),
        };
        match verdict {
            Ok(()) => Checked::Good(Good { found, token, provider: at, known }),
            Err(failure) => Checked::Bad(Some(at), failure),
        }
    }

    /// A token holds: what it says goes on with the request.
    fn take(&mut self, leaf: &Leaf, good: Good, invalid_header: &mut Option<Box<str>>) {
        let Good { found, token, provider: at, known } = good;
        let Some(provider) = self.live.settings.providers.get(at) else { return };
        if let Some(name) = writing::forward(provider, &token, self.request) {
            *invalid_header = Some(name);
        }
        if !provider.forwards {
            leaf.places.remove(&found, self.request.head);
        }
        if leaf.provider.is_some() && !known {
            self.live.keep(at, &found.text, token);
        }
    }

    /// A token failed: the metadata may tell. What is nobody's is told of the only provider, where there is one alone.
    fn note(&mut self, provider: Option<usize>, verdict: Verdict) {
        let alone = (self.live.settings.providers.len() == 1).then_some(0);
        let name = provider.or(alone).and_then(|at| Some(&self.provider(at)?.metadata.failure));
        if let (Some(name), Err(failure)) = (name.filter(|name| !name.is_empty()).cloned(), verdict) {
            writing::failed(name, failure, self.request.info);
        }
    }

    /// What a leaf comes to by the verdict of its last token.
    fn finish(&mut self, leaf: &Leaf, provider: Option<usize>, verdict: Verdict) -> Verdict {
        self.note(provider, verdict);
        if let (Some(header), Err(failure)) = (&leaf.status_header, verdict)
            && failure != Failure::Missing
        {
            self.request.head.headers.set(&**header, b"false");
        }
        match (leaf.leniency, verdict) {
            (Leniency::Failed | Leniency::Extract, _) | (Leniency::Missing, Err(Failure::Missing)) => Ok(()),
            (Leniency::Nothing | Leniency::Missing, verdict) => verdict,
        }
    }
}

impl Waiting {
    /// The keys have come, or will not.
    fn with(self, keys: Result<Arc<KeySet>, NoKeys>) -> Checked {
        let Self { found, token, provider, keys: _ } = self;
        match keys.map_err(|NoKeys| Failure::Fetch).and_then(|keys| keys.verify(&token)) {
            Ok(()) => Checked::Good(Good { found, token, provider, known: false }),
            Err(failure) => Checked::Bad(Some(provider), failure),
        }
    }
}

/// Whether a token's claims are as provider and requirement want them; its signature is another matter.
fn claims_hold(leaf: &Leaf, provider: &Provider, token: &Token, now: u64) -> Verdict {
    token.at(now, provider.clock_skew)?;
    if !leaf.audiences.as_ref().unwrap_or(&provider.audiences).allow(&token.audiences) {
        return Err(Failure::Audience);
    }
    let subject = provider.subjects.as_ref().is_none_or(|matcher| matcher.matches(token.subject.as_bytes()));
    let expires = token.expires != 0;
    let soon = provider.longest_life.is_none_or(|life| expires && token.expires <= now.saturating_add(life));
    if !subject || provider.must_expire && !expires || !soon {
        return Err(Failure::Verification);
    }
    Ok(())
}
