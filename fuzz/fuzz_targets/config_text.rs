//! Configuration text: nothing panics, what is accepted prints as JSON that means the same, and what was left out with
//! a warning is gone.
#![cfg_attr(fuzzing, no_main)]

use nuncio_proto::text::Format;
use nuncio_proto::{ErrorKind, LoadOptions, Loaded, Resource, Sink, Source, Unsupported, json, load};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

/// The first byte chooses the format, the rest is the text.
pub fn run(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let format = if choice & 1 == 0 { Format::Yaml } else { Format::Json };
    let allow_unknown_static_fields = choice & 2 != 0;
    let source = Source { name: "fuzz", bytes: text, format };
    let options = LoadOptions { unsupported: Unsupported::Refuse, allow_unknown_static_fields };
    match load(&[source], options) {
        Ok(loaded) => resources(&loaded).for_each(means_the_same_in_json),
        Err(errors) => assert!(!errors.is_empty() && !errors.to_string().is_empty()),
    }
    let options = LoadOptions { unsupported: Unsupported::Warn, ..options };
    if let Ok(loaded) = load(&[source], options) {
        resources(&loaded).for_each(nothing_unbuilt_is_left);
    }
}

fn resources(loaded: &Loaded) -> impl Iterator<Item = &Resource> {
    [&loaded.bootstrap].into_iter().chain(&loaded.listeners).chain(&loaded.clusters).chain(&loaded.secrets)
}

/// Prints a resource, reads what was printed, and prints that: the two prints are equal.
fn means_the_same_in_json(resource: &Resource) {
    let style = json::Style { compact: true, ..json::Style::default() };
    let printed = json::print(resource.message(), resource.bytes(), style);
    if printed.contains("[redacted]") {
        return;
    }
    let text = match resource.type_name() {
        "envoy.config.listener.v3.Listener" => {
            format!("{{\"static_resources\":{{\"listeners\":[{printed}]}}}}")
        }
        "envoy.config.cluster.v3.Cluster" => format!("{{\"static_resources\":{{\"clusters\":[{printed}]}}}}"),
        "envoy.config.bootstrap.v3.Bootstrap" => printed.clone(),
        _ => return,
    };
    let source = Source { name: "printed", bytes: text.as_bytes(), format: Format::Json };
    let again = load(&[source], LoadOptions::default());
    // A single value where a list is meant prints one level deeper than it was written.
    if again.as_ref().is_err_and(|errors| errors.to_string().contains("nested deeper")) {
        return;
    }
    assert!(again.is_ok(), "{again:?}\n{text}");
    let Ok(again) = again else { return };
    let copy = again.listeners.first().or(again.clusters.first()).unwrap_or(&again.bootstrap);
    assert_eq!(printed, json::print(copy.message(), copy.bytes(), style));
}

fn nothing_unbuilt_is_left(resource: &Resource) {
    let sink = Sink::new(Unsupported::Refuse);
    resource.clone().check(&sink);
    let (errors, _) = sink.finish();
    let left = errors.iter().find(|error| error.kind == ErrorKind::Unbuilt);
    assert!(left.is_none(), "{left:?}");
}
