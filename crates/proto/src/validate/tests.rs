use super::*;
use crate::context::Sink;
use crate::pb::envoy::config::listener::v3::Listener;
use crate::pb::envoy::config::route::v3::RouteConfiguration;
use crate::{Errors, LoadOptions, Loaded, Source, load, read};

/// What is loaded without an error, and its warnings.
fn loaded(text: &str, unsupported: Unsupported) -> (Loaded, Errors) {
    let sink = Sink::new(unsupported);
    let loaded = read(&[Source::file("t.yaml", text.as_bytes())], false, &sink);
    let (errors, warnings) = sink.finish();
    assert!(errors.is_empty(), "{errors}");
    (loaded.unwrap(), warnings)
}

/// Checks hand-made wire bytes of a type, as xDS would bring them.
fn problems(name: &str, bytes: &[u8]) -> String {
    let sink = Sink::default();
    check(Message::find(name).unwrap(), bytes, &CompileContext::root(&sink, "x", None));
    sink.finish().0.to_string()
}

#[test]
fn what_is_set_and_unbuilt_is_refused_by_path_and_place() {
    let text = "static_resources:\n  clusters:\n  - name: a\n    stats_matcher: {reject_all: true}\n";
    let errors = load(&[Source::file("t.yaml", text.as_bytes())], LoadOptions::default()).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "t.yaml:4:5: static_resources.clusters[0].stats_matcher: is not supported yet"
    );
}

#[test]
fn with_warn_an_unbuilt_field_is_taken_out_of_the_bytes() {
    let text =
        "static_resources: {clusters: [{name: a, stats_matcher: {reject_all: true}, connect_timeout: 1s}]}";
    let (loaded, warnings) = loaded(text, Unsupported::Warn);
    assert_eq!(warnings.len(), 1);
    let cluster = Message::find("envoy.config.cluster.v3.Cluster").unwrap();
    let numbers: Vec<u32> =
        Reader::new(loaded.clusters[0].bytes()).flatten().map(|(number, _)| number).collect();
    let kept = ["name", "connect_timeout"].map(|name| cluster.field_named(name).unwrap().number());
    assert_eq!(numbers, kept);
}

#[test]
fn with_warn_a_list_entry_of_an_unbuilt_type_goes_as_a_whole() {
    let text = "static_resources: {listeners: [{address: {socket_address: {address: 127.0.0.1, port_value: 80}}, filter_chains: [
        {filters: [{name: k, typed_config: {'@type': a/envoy.extensions.filters.network.zookeeper_proxy.v3.ZooKeeperProxy, stat_prefix: a}},
        {name: h, typed_config: {'@type': a/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
        stat_prefix: a, route_config: {}}}]}]}]}";
    let (loaded, warnings) = loaded(text, Unsupported::Warn);
    let listener = loaded.listeners[0].decode::<Listener>().unwrap();
    let names: Vec<&str> =
        listener.filter_chains[0].filters.iter().map(|filter| filter.name.as_str()).collect();
    assert_eq!(names, ["h"]);
    assert_eq!(
        warnings.to_string(),
        "t.yaml:2:30: static_resources.listeners[0].filter_chains[0].filters[0].typed_config: \
         the type envoy.extensions.filters.network.zookeeper_proxy.v3.ZooKeeperProxy is not supported yet"
    );
}

#[test]
fn constraints_hold_within_unbuilt_parts_too() {
    let text = "static_resources: {clusters: [{name: a, health_checks: [{timeout: 0s}]}]}";
    let options = LoadOptions { unsupported: Unsupported::Warn, ..LoadOptions::default() };
    let errors = load(&[Source::file("t.yaml", text.as_bytes())], options).unwrap_err().to_string();
    assert!(errors.contains("health_checks[0].timeout: value must be greater than 0s"), "{errors}");
    assert!(errors.contains("health_checks[0].interval: is required"), "{errors}");
}

#[test]
fn a_message_in_two_pieces_is_checked_as_one() {
    use prost::Message as _;
    // Route: match in one piece, its prefix in another; name and domains of the virtual host likewise.
    let piece = |bytes: &[u8], number: u32| tagged(number, bytes);
    let route_match = [piece(&piece(b"/", 1), 1), piece(&[], 1)].concat();
    let action = piece(&piece(b"c", 1), 2);
    let host = [piece(b"v", 1), piece(b"*", 2), piece(&[route_match, action].concat(), 3)].concat();
    let bytes = piece(&host, 2);
    assert_eq!(problems("envoy.config.route.v3.RouteConfiguration", &bytes), "");
    assert!(RouteConfiguration::decode(bytes.as_slice()).is_ok());
}

#[test]
fn bytes_that_fit_no_schema_are_reported() {
    assert_eq!(
        problems("envoy.config.core.v3.Locality", &[0xf8, 0x3f, 1]),
        "x: envoy.config.core.v3.Locality has no field number 1023"
    );
    assert_eq!(
        problems("envoy.config.core.v3.Locality", &[0x0a]),
        "x: the bytes are no envoy.config.core.v3.Locality"
    );
    let any = tagged(2, &tagged(1, b"a/foo.Bar"));
    let extension = [tagged(1, b"n"), any].concat();
    assert_eq!(
        problems("envoy.config.core.v3.TypedExtensionConfig", &extension),
        "x.typed_config: no message has the @type 'a/foo.Bar'"
    );
}

#[test]
fn deprecated_fields_warn_once() {
    let text = "static_resources: {listeners: [{address: {socket_address: {address: 127.0.0.1, port_value: 80}}, filter_chains: [
        {filters: [{name: h, typed_config: {'@type': a/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
        stat_prefix: a, route_config: {virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /, headers: [
        {name: x, exact_match: z}]}, route: {cluster: c}}]}]}}}]}]}]}";
    let warnings = loaded(text, Unsupported::Refuse).1.to_string();
    assert!(warnings.ends_with("headers[0].exact_match: is deprecated"), "{warnings}");
}

#[test]
fn every_pattern_of_the_schema_compiles() {
    fn patterns(rules: &[Rule]) -> Vec<&'static str> {
        rules
            .iter()
            .flat_map(|rule| match rule {
                Rule::Pattern(pattern) => vec![*pattern],
                Rule::Items(rules) | Rule::Keys(rules) | Rule::Values(rules) => patterns(rules),
                _ => vec![],
            })
            .collect()
    }
    for field in Message::all().flat_map(Message::fields) {
        for pattern in patterns(field.rules()) {
            assert!(regex::Regex::new(pattern).is_ok(), "{field:?}: {pattern}");
        }
    }
}

#[test]
fn well_known_forms_are_told_apart() {
    use crate::schema::Form;
    for (form, text, verdict) in [
        (Form::Uri, "http://a/b", true),
        (Form::Uri, "/b", false),
        (Form::UriRef, "/b", true),
        (Form::UriRef, "a b", false),
        (Form::Hostname, "a.b-c.d", true),
        (Form::Hostname, "-a", false),
        (Form::Address, "::1", true),
        (Form::Ip, "1.2.3", false),
        (Form::HeaderName, ":path", true),
        (Form::HeaderName, "a b", false),
        (Form::HeaderValue, "a\tb", true),
        (Form::HeaderValue, "a\nb", false),
        (Form::HeaderLoose, "a\u{1}", true),
        (Form::HeaderLoose, "a\r", false),
        (Form::Uuid, "01234567-89ab-cdef-0123-456789abcdef", true),
        (Form::Uuid, "0123", false),
        (Form::Email, "a@b.c", true),
    ] {
        assert_eq!(forms::holds(form, text), verdict, "{form:?} {text:?}");
    }
}

#[test]
fn an_extension_without_typed_config_is_refused_unless_it_is_optional() {
    let verdict = |filter: &str| {
        let text = format!(
            "static_resources: {{listeners: [{{address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}, filter_chains: [
            {{filters: [{{name: h, typed_config: {{'@type': a/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
            stat_prefix: a, route_config: {{}}, http_filters: [{filter}]}}}}]}}]}}]}}"
        );
        load(&[Source::file("t.yaml", text.as_bytes())], LoadOptions::default())
            .map_err(|errors| errors.to_string())
    };
    assert!(verdict("{name: r}").unwrap_err().contains("http_filters[0]: typed_config is missing"));
    assert!(verdict("{name: r, typed_config: {}}").unwrap_err().contains("typed_config is missing"));
    assert!(verdict("{name: r, is_optional: true}").is_ok());
    assert!(
        verdict("{name: r, typed_config: {'@type': a/envoy.extensions.filters.http.router.v3.Router}}")
            .is_ok()
    );
}
