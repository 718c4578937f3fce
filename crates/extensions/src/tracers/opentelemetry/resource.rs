//! What exports say of the process: the service's name, the library, and what detectors find.

use nuncio_core::config::{CompileContext, type_name};
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::extensions::tracers::opentelemetry::resource_detectors::v3::{
    EnvironmentResourceDetectorConfig, StaticConfigResourceDetectorConfig,
};
use prost::Name as _;
use std::collections::BTreeMap;

/// Attributes of a resource, by key.
pub(super) type Attributes = BTreeMap<String, String>;

/// What a service without a name is called.
const UNKNOWN: &str = "unknown_service:envoy";

/// The environment variable that names attributes (`OpenTelemetry SDK environment variables`).
const VARIABLE: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// The attributes of all exports: what a detector finds takes the place of what was there, where it is not empty.
/// `service` and `sdk` (the version) are `None` where they are not to be told.
pub(super) fn attributes(
    service: Option<String>,
    sdk: Option<&str>,
    detectors: Vec<TypedExtensionConfig>,
    cx: &CompileContext<'_>,
) -> Option<Attributes> {
    let mut all = Attributes::new();
    if let Some(version) = sdk {
        for (key, value) in [("language", "cpp"), ("name", "envoy"), ("version", version)] {
            all.insert(format!("telemetry.sdk.{key}"), value.to_owned());
        }
    }
    if let Some(name) = service {
        let name = if name.is_empty() { UNKNOWN.to_owned() } else { name };
        all.insert("service.name".to_owned(), name);
    }
    for (i, detector) in detectors.into_iter().enumerate() {
        let found = detect(detector, &cx.item("resource_detectors", i))?;
        all.extend(found.into_iter().filter(|(_, value)| !value.is_empty()));
    }
    Some(all)
}

fn detect(message: TypedExtensionConfig, cx: &CompileContext<'_>) -> Option<Vec<(String, String)>> {
    let TypedExtensionConfig { name, typed_config } = message;
    let any = typed_config.unwrap_or_default();
    let (kind, cx) = (type_name(&any.type_url), cx.field("typed_config"));
    if kind == EnvironmentResourceDetectorConfig::full_name() {
        let EnvironmentResourceDetectorConfig {} = cx.unpack(&any)?;
        return Some(from_text(&std::env::var(VARIABLE).unwrap_or_default()));
    }
    if kind == StaticConfigResourceDetectorConfig::full_name() {
        let StaticConfigResourceDetectorConfig { attributes } = cx.unpack(&any)?;
        return Some(attributes.into_iter().collect());
    }
    cx.unsupported(format!("the resource detector {kind} is not built (for '{name}')"));
    None
}

/// `KEY=VALUE,…`; what is not such a pair is passed over.
fn from_text(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=')?;
        let good = !key.is_empty() && !value.is_empty() && !value.contains('=');
        good.then(|| (key.to_owned(), value.to_owned()))
    };
    text.split(',').filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::from_text;

    #[test]
    fn the_environment_names_pairs_and_nothing_of_them_is_trimmed() {
        let pairs = |text| from_text(text).into_iter().map(|(k, v)| format!("{k}|{v}")).collect::<Vec<_>>();
        assert_eq!(pairs("a=1, b = 2 "), ["a|1", " b | 2 "]);
        assert_eq!(pairs("a,b=1,=2,c=,d=e=f"), ["b|1"]);
        assert!(pairs("").is_empty());
    }
}
