//! Runtime keys that mean something to Envoy without any field naming them.
//!
//! A key that Envoy does not know has no effect there and none here. One that Envoy knows is read by the code it
//! concerns; what is left is refused, so that no key is taken and then not heeded.

use nuncio_core::config::{CompileContext, RegexLimits};
use nuncio_core::runtime::features::{Effect, feature, names_a_feature};
use nuncio_core::runtime::{Layer, Runtime};

/// Numbers that Envoy keeps among its features.
const NUMBERS: [&str; 5] = [
    "envoy.reloadable_features.max_request_headers_count",
    "envoy.reloadable_features.max_request_headers_size_kb",
    "envoy.reloadable_features.max_response_headers_count",
    "envoy.reloadable_features.max_response_headers_size_kb",
    "envoy.reloadable_features.http2_max_cookies_size_in_kb",
];

/// How Envoy's own keys that allow deprecated fields begin.
const DEPRECATED: &str = "envoy.deprecated_features:";

/// The key that turns each use of a deprecated field into an error.
const FAIL_ON_DEPRECATED: &str = "envoy.features.fail_on_any_deprecated_feature";

/// How large regular expressions may be (`re2.max_program_size.*`).
pub fn regex_limits(runtime: &Runtime) -> RegexLimits {
    RegexLimits {
        error: runtime.integer("re2.max_program_size.error_level", 100),
        warn: runtime.integer("re2.max_program_size.warn_level", u32::MAX.into()),
    }
}

/// Refuses the keys of a layer that nothing here would heed, and takes them out of it.
pub fn check(layer: &mut Layer, cx: &CompileContext<'_>) {
    layer.values.retain(|key, value| match judge(key, value) {
        Verdict::Taken => true,
        Verdict::Removed => {
            // Envoy's words.
            cx.warn(format!(
                "Using a removed guard {key}. In future version of Envoy this will be treated as invalid \
                 configuration"
            ));
            true
        }
        Verdict::Unbuilt => {
            cx.unsupported(format!("the runtime key {key} has a meaning of its own that is not built"));
            false
        }
        Verdict::OtherThanDefault(default) => {
            cx.unsupported(format!(
                "the runtime key {key} is {default} by default, and the other value is not built"
            ));
            false
        }
    });
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Somebody reads it, or Envoy does not either.
    Taken,
    /// A feature that Envoy had once: it says so, and goes on.
    Removed,
    /// It has a meaning that is not built.
    Unbuilt,
    /// A feature whose default alone is built.
    OtherThanDefault(bool),
}

fn judge(key: &str, value: &str) -> Verdict {
    let unbuilt = |unbuilt| if unbuilt { Verdict::Unbuilt } else { Verdict::Taken };
    if let Some(feature) = feature(key) {
        return match as_switch(value) {
            Some(on) if on != feature.default && feature.effect == Effect::Seen => {
                Verdict::OtherThanDefault(feature.default)
            }
            _ => Verdict::Taken,
        };
    }
    if names_a_feature(key) {
        let number = NUMBERS.contains(&key);
        return if number || as_switch(value).is_none() { unbuilt(number) } else { Verdict::Removed };
    }
    if key == FAIL_ON_DEPRECATED {
        return unbuilt(as_switch(value) == Some(true));
    }
    if key.starts_with(DEPRECATED) {
        // It allows what is allowed, or a field that is refused on its own account.
        return unbuilt(as_switch(value) == Some(false));
    }
    Verdict::Taken
}

/// A value as Envoy's features read it: a boolean in any letter case, or a whole number; any other is no value.
fn as_switch(value: &str) -> Option<bool> {
    match value {
        _ if value.eq_ignore_ascii_case("true") => Some(true),
        _ if value.eq_ignore_ascii_case("false") => Some(false),
        _ => value.parse::<i64>().ok().map(|number| number != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_envoy_does_not_know_is_taken_and_what_nobody_heeds_is_not() {
        for (key, value, verdict) in [
            ("my.own.key", "7", Verdict::Taken),
            ("envoy.something.made.up", "text", Verdict::Taken),
            ("envoy.reloadable_features.gone", "true", Verdict::Removed),
            ("envoy.restart_features.gone", "text", Verdict::Taken),
            ("envoy.reloadable_features.unified_mux", "true", Verdict::Taken),
            ("envoy.reloadable_features.http_reject_path_with_fragment", "true", Verdict::Taken),
            ("envoy.reloadable_features.http_reject_path_with_fragment", "7", Verdict::Taken),
            ("envoy.reloadable_features.http_reject_path_with_fragment", "False", Verdict::Taken),
            (
                "envoy.reloadable_features.coalesce_formatter_accept_empty_values",
                "False",
                Verdict::OtherThanDefault(true),
            ),
            ("envoy.reloadable_features.http_reject_path_with_fragment", "off", Verdict::Taken),
            ("envoy.reloadable_features.max_request_headers_count", "7", Verdict::Unbuilt),
            ("envoy.deprecated_features:envoy.config.x", "true", Verdict::Taken),
            ("envoy.deprecated_features:envoy.config.x", "false", Verdict::Unbuilt),
            ("envoy.features.enable_all_deprecated_features", "true", Verdict::Taken),
            ("envoy.features.fail_on_any_deprecated_feature", "true", Verdict::Unbuilt),
            ("outlier_detection.consecutive_5xx", "2", Verdict::Taken),
            ("re2.max_program_size.error_level", "2", Verdict::Taken),
            ("upstream.zone_routing.enabled", "0", Verdict::Taken),
            ("circuit_breakers.c.default.max_requests", "2", Verdict::Taken),
            ("circuit_breakers.c.default.retry_budget.budget_percent", "2", Verdict::Taken),
        ] {
            assert_eq!(judge(key, value), verdict, "{key}: {value}");
        }
    }
}
