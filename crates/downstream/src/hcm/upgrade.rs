//! Upgrades and CONNECT: `HttpConnectionManager.upgrade_configs`, and what a route says over them.

use super::sanitize::is_upgrade;
use crate::filter::ChainConfig;
use nuncio_codec::head::{HeaderMap, Known, KnownSet, RequestHead, ResponseHead};

/// One entry of `upgrade_configs`.
pub struct UpgradeConfig {
    /// `upgrade_type`; letters compare without case. `CONNECT` is the method.
    pub kind: Box<str>,
    /// `enabled`, true where it is not set.
    pub enabled: bool,
    /// `filters`: this upgrade's own list; the connection manager's where there is none.
    pub chain: Option<ChainConfig>,
}

/// What upgrades a route allows or forbids, whatever the connection manager says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteUpgrade {
    /// `upgrade_type`; letters compare without case.
    pub kind: Box<str>,
    /// `enabled`, true where it is not set.
    pub enabled: bool,
}

/// The upgrades of a connection manager.
pub struct Upgrades {
    entries: Box<[UpgradeConfig]>,
}

/// What becomes of a request that asks for an upgrade.
#[derive(Clone, Copy)]
pub enum Verdict<'a> {
    /// Nobody allows it: 403.
    Refused,
    /// It passes through these filters.
    Through(&'a ChainConfig),
}

/// One of these is there, or no path is, wherever an upgrade is asked for.
const ASKING: KnownSet = KnownSet::of(&[Known::Upgrade, Known::Protocol]);

/// What upgrade a request asks for: its `upgrade` header, or `CONNECT`. `None`: it is an ordinary request.
#[inline]
pub fn requested(headers: &HeaderMap) -> Option<&[u8]> {
    // Only CONNECT comes without a path; in its extended form it has one.
    if !headers.contains_any(ASKING) && headers.contains(Known::Path) {
        return None;
    }
    headers.get(Known::Upgrade).or_else(|| headers.get(Known::Method).filter(|method| *method == b"CONNECT"))
}

/// Whether a response turns its connection into a tunnel: an upgrade that is granted, or a CONNECT.
pub fn switches(response: &ResponseHead, request: &RequestHead) -> bool {
    match request.method() {
        b"CONNECT" => response.status / 100 == 2,
        _ => response.status == 101 && is_upgrade(&response.headers),
    }
}

/// Whether a request that may be upgraded asks for WebSocket, of whose handshake Envoy takes more care.
pub fn is_websocket(request: &RequestHead) -> bool {
    request.headers.get(Known::Upgrade).is_some_and(|kind| kind.eq_ignore_ascii_case(b"websocket"))
}

/// Whether an upstream's answer says that the WebSocket handshake failed and is to go on without its body: errors
/// go on as they are.
pub fn fails_handshake(response: &ResponseHead) -> bool {
    !matches!(response.status, 101 | 400..)
}

impl Upgrades {
    /// The upgrades of these entries, whose types differ.
    pub fn new(entries: Vec<UpgradeConfig>) -> Self {
        Self { entries: entries.into() }
    }

    /// Whether there is an entry for `kind`, switched off or not.
    pub fn names(&self, kind: &[u8]) -> bool {
        self.entries.iter().any(|e| e.kind.as_bytes().eq_ignore_ascii_case(kind))
    }

    /// The filter lists that are upgrades' own.
    pub fn chains(&self) -> impl Iterator<Item = &ChainConfig> {
        self.entries.iter().filter_map(|e| e.chain.as_ref())
    }

    /// Whether a request may be upgraded to `kind` and which filters it passes. What the route says of that kind
    /// counts first; `usual` are the connection manager's own filters.
    pub fn judge<'a>(&'a self, kind: &[u8], route: &[RouteUpgrade], usual: &'a ChainConfig) -> Verdict<'a> {
        let same = |name: &str| name.as_bytes().eq_ignore_ascii_case(kind);
        let entry = self.entries.iter().find(|e| same(&e.kind));
        let allowed = match route.iter().find(|r| same(&r.kind)) {
            Some(route) => route.enabled,
            None => entry.is_some_and(|e| e.enabled),
        };
        // A route that allows what the connection manager forbids wins; one that forbids always does.
        if !allowed {
            return Verdict::Refused;
        }
        Verdict::Through(entry.and_then(|e| e.chain.as_ref()).unwrap_or(usual))
    }
}

#[cfg(test)]
mod tests;
