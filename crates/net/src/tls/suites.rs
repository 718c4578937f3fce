//! `cipher_suites`: OpenSSL's words for cipher suites of TLS 1.2, as BoringSSL reads them.

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite as built;

/// What BoringSSL has. Rules are read over all of it, so that one that would leave a suite that is not built is told so.
struct Suite {
    openssl: &'static str,
    iana: &'static str,
    /// The words that stand for it among others.
    aliases: &'static [&'static str],
    bits: u16,
    /// Only its own name brings it in.
    deprecated: bool,
    built: Option<SupportedCipherSuite>,
}

const fn suite(
    openssl: &'static str,
    iana: &'static str,
    aliases: &'static [&'static str],
    bits: u16,
    built: Option<SupportedCipherSuite>,
) -> Suite {
    Suite { openssl, iana, aliases, bits, deprecated: false, built }
}

/// In the order in which rules find them. What wants pre-shared keys is left out: Envoy has no way to set any.
const SUITES: &[Suite] = &[
    suite(
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        &["kECDHE", "aECDSA", "AES128", "AESGCM", "TLSv1.2"],
        128,
        Some(built::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ),
    suite(
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        &["kECDHE", "aRSA", "AES128", "AESGCM", "TLSv1.2"],
        128,
        Some(built::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ),
    suite(
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        &["kECDHE", "aECDSA", "AES256", "AESGCM", "TLSv1.2"],
        256,
        Some(built::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ),
    suite(
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        &["kECDHE", "aRSA", "AES256", "AESGCM", "TLSv1.2"],
        256,
        Some(built::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ),
    suite(
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        &["kECDHE", "aECDSA", "CHACHA20", "TLSv1.2"],
        256,
        Some(built::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    suite(
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        &["kECDHE", "aRSA", "CHACHA20", "TLSv1.2"],
        256,
        Some(built::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    suite(
        "ECDHE-ECDSA-AES128-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        &["kECDHE", "aECDSA", "AES128", "SHA1", "TLSv1"],
        128,
        None,
    ),
    suite(
        "ECDHE-RSA-AES128-SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        &["kECDHE", "aRSA", "AES128", "SHA1", "TLSv1"],
        128,
        None,
    ),
    suite(
        "ECDHE-ECDSA-AES256-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        &["kECDHE", "aECDSA", "AES256", "SHA1", "TLSv1"],
        256,
        None,
    ),
    suite(
        "ECDHE-RSA-AES256-SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        &["kECDHE", "aRSA", "AES256", "SHA1", "TLSv1"],
        256,
        None,
    ),
    Suite {
        deprecated: true,
        ..suite(
            "ECDHE-RSA-AES128-SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
            &["kECDHE", "aRSA", "AES128", "TLSv1.2"],
            128,
            None,
        )
    },
    suite(
        "AES128-GCM-SHA256",
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
        &["kRSA", "aRSA", "RSA", "AES128", "AESGCM", "TLSv1.2"],
        128,
        None,
    ),
    suite(
        "AES256-GCM-SHA384",
        "TLS_RSA_WITH_AES_256_GCM_SHA384",
        &["kRSA", "aRSA", "RSA", "AES256", "AESGCM", "TLSv1.2"],
        256,
        None,
    ),
    suite(
        "AES128-SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA",
        &["kRSA", "aRSA", "RSA", "AES128", "SHA1", "TLSv1"],
        128,
        None,
    ),
    suite(
        "AES256-SHA",
        "TLS_RSA_WITH_AES_256_CBC_SHA",
        &["kRSA", "aRSA", "RSA", "AES256", "SHA1", "TLSv1"],
        256,
        None,
    ),
    Suite {
        deprecated: true,
        ..suite(
            "DES-CBC3-SHA",
            "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
            &["kRSA", "aRSA", "RSA", "3DES", "SHA1", "TLSv1"],
            112,
            None,
        )
    },
];

/// Words that stand for one of [`Suite::aliases`], or for any of two.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("ECDHE", &["kECDHE"]),
    ("EECDH", &["kECDHE"]),
    ("kEECDH", &["kECDHE"]),
    ("SHA", &["SHA1"]),
    ("SSLv3", &["TLSv1"]),
    ("AES", &["AES128", "AES256"]),
];

/// Words for all suites, and for those that nobody can have here.
const ALL: &[&str] = &["ALL", "HIGH", "FIPS"];
const NONE: &[&str] = &["kPSK", "aPSK", "PSK"];

/// What Envoy has where nothing is configured.
const DEFAULT: &str = "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]:[ECDHE-RSA-AES128-GCM-SHA256|\
                       ECDHE-RSA-CHACHA20-POLY1305]:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";

impl Suite {
    fn is_called(&self, word: &str) -> bool {
        self.openssl == word || self.iana == word
    }

    /// Whether a word, or all of several with `+` between them, stands for it.
    fn is_one_of(&self, words: &str) -> bool {
        if self.is_called(words) {
            return true;
        }
        let named = |word: &str| match SYNONYMS.iter().find(|(synonym, _)| *synonym == word) {
            Some((_, any)) => any.iter().any(|alias| self.aliases.contains(alias)),
            None => ALL.contains(&word) || self.aliases.contains(&word),
        };
        !self.deprecated && words.split('+').all(named)
    }
}

/// Whether a word means something to a rule.
fn is_known(word: &str) -> bool {
    let alone = |word: &str| {
        ALL.contains(&word)
            || NONE.contains(&word)
            || SYNONYMS.iter().any(|(synonym, _)| *synonym == word)
            || SUITES.iter().any(|suite| suite.aliases.contains(&word))
    };
    SUITES.iter().any(|suite| suite.is_called(word)) || word.split('+').all(alone)
}

/// Why a rule leaves nothing to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RuleError {
    /// These words mean nothing; without any the rule leaves no suite.
    Words(Vec<String>),
    /// It leaves these, which are not built.
    Unbuilt(Vec<&'static str>),
}

/// Where a suite stands while a rule is read.
#[derive(Clone, Copy)]
struct Entry {
    suite: &'static Suite,
    active: bool,
    /// Equals of the one behind it.
    joined: bool,
}

/// Reads a rule: the suites that it leaves, those that are equals together. An empty one is Envoy's default.
pub(super) fn read(rule: &str) -> Result<Vec<Vec<SupportedCipherSuite>>, RuleError> {
    let rule = if rule.is_empty() { DEFAULT } else { rule };
    let mut list: Vec<Entry> =
        SUITES.iter().map(|suite| Entry { suite, active: false, joined: false }).collect();
    let unknown = unknown(rule);
    if !unknown.is_empty() {
        return Err(RuleError::Words(unknown));
    }
    for item in rule.split(':').filter(|item| !item.is_empty()) {
        match item.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(equals) => {
                let before = active(&list).count();
                equals.split('|').for_each(|word| add(&mut list, word));
                let added = list.iter_mut().filter(|entry| entry.active).skip(before);
                let mut last = None;
                for entry in added {
                    entry.joined = true;
                    last = Some(entry);
                }
                if let Some(entry) = last {
                    entry.joined = false;
                }
            }
            None => apply(&mut list, item),
        }
    }
    let unbuilt: Vec<_> =
        active(&list).filter(|e| e.suite.built.is_none()).map(|e| e.suite.openssl).collect();
    if !unbuilt.is_empty() {
        return Err(RuleError::Unbuilt(unbuilt));
    }
    let (mut groups, mut goes_on) = (Vec::<Vec<SupportedCipherSuite>>::new(), false);
    for entry in active(&list) {
        let Some(suite) = entry.suite.built else { continue };
        match groups.last_mut().filter(|_| goes_on) {
            Some(group) => group.push(suite),
            None => groups.push(vec![suite]),
        }
        goes_on = entry.joined;
    }
    if groups.is_empty() { Err(RuleError::Words(Vec::new())) } else { Ok(groups) }
}

fn active(list: &[Entry]) -> impl Iterator<Item = &Entry> {
    list.iter().filter(|entry| entry.active)
}

/// The words of a rule that mean nothing.
fn unknown(rule: &str) -> Vec<String> {
    let bare = |item: &str| item.trim_start_matches(['!', '-', '+']).to_owned();
    let items = rule.split(':').filter(|item| !item.is_empty());
    let words = items.flat_map(|item| match item.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(equals) => equals.split('|').map(str::to_owned).collect(),
        None => vec![bare(item)],
    });
    words.filter(|word| !matches!(&**word, "@STRENGTH" | "DEFAULT") && !is_known(word)).collect()
}

/// One item of a rule that has no brackets.
fn apply(list: &mut Vec<Entry>, item: &str) {
    let (first, rest) = item.split_at(usize::from(item.starts_with(['!', '-', '+', '@'])));
    match first {
        "!" => list.retain(|entry| !entry.suite.is_one_of(rest)),
        "-" => {
            let goes = |entry: &Entry| entry.active && entry.suite.is_one_of(rest);
            let (mut gone, stays): (Vec<_>, Vec<_>) = list.drain(..).partition(goes);
            gone.iter_mut().for_each(|entry: &mut Entry| (entry.active, entry.joined) = (false, false));
            *list = gone.into_iter().chain(stays).collect();
        }
        "+" => to_the_end(list, |entry| entry.active && entry.suite.is_one_of(rest)),
        "@" => {
            for bits in [256, 128, 112] {
                to_the_end(list, |entry| entry.active && entry.suite.bits == bits);
            }
        }
        _ => add(list, if rest == "DEFAULT" { "ALL" } else { rest }),
    }
}

/// Takes in what a word stands for and is not there yet.
fn add(list: &mut Vec<Entry>, word: &str) {
    let comes = |entry: &Entry| !entry.active && entry.suite.is_one_of(word);
    let (mut new, stays): (Vec<_>, Vec<_>) = list.drain(..).partition(comes);
    new.iter_mut().for_each(|entry: &mut Entry| entry.active = true);
    *list = stays.into_iter().chain(new).collect();
}

fn to_the_end(list: &mut Vec<Entry>, which: impl Fn(&Entry) -> bool) {
    let (last, first): (Vec<_>, Vec<_>) = list.drain(..).partition(which);
    *list = first.into_iter().chain(last).collect();
}

/// A cipher suite's name as logs and stats show it; empty where it is not one of TLS 1.2.
pub(super) fn name(suite: rustls::CipherSuite) -> &'static str {
    let is_it = |known: &&Suite| known.built.is_some_and(|built| built.suite() == suite);
    SUITES.iter().find(is_it).map_or("", |known| known.openssl)
}

#[cfg(test)]
mod tests;
