use super::*;
use crate::{LoadOptions, Source, load};

fn print_bootstrap(text: &str, style: Style<'_>) -> String {
    let options = LoadOptions { unsupported: crate::Unsupported::Warn, ..LoadOptions::default() };
    let loaded =
        load(&[Source::file("t.yaml", text.as_bytes())], options).unwrap_or_else(|errors| panic!("{errors}"));
    let resource = loaded.clusters.first().or(loaded.listeners.first()).unwrap_or(&loaded.bootstrap);
    print(resource.message(), resource.bytes(), style)
}

#[test]
fn fields_print_in_snake_case_by_number_without_defaults() {
    let text = "static_resources: {clusters: [{connectTimeout: 1.5s, name: \"a\\\"<\", type: static, \
        per_connection_buffer_limit_bytes: 5, metadata: {filter_metadata: {x: {a: [1, 1.5, true, ~, {b: c}]}}}}]}";
    let compact = print_bootstrap(text, Style { compact: true, ..Style::default() });
    assert_eq!(
        compact,
        r#"{"name":"a\"\u003c","type":"STATIC","connect_timeout":"1.500s","per_connection_buffer_limit_bytes":5,"metadata":{"filter_metadata":{"x":{"a":[1,"1.5",true,null,{"b":"c"}]}}}}"#
    );
}

#[test]
fn it_is_indented_by_one_blank_a_level() {
    let text = "node: {id: a, client_features: [b, c], metadata: {}}";
    assert_eq!(
        print_bootstrap(text, Style::default()),
        "{\n \"node\": {\n  \"id\": \"a\",\n  \"metadata\": {},\n  \"client_features\": [\n   \"b\",\n   \"c\"\n  ]\n }\n}"
    );
}

#[test]
fn an_any_prints_its_type_and_content() {
    let text = "static_resources: {listeners: [{address: {socket_address: {address: 127.0.0.1, port_value: 80}}, filter_chains: [
        {filters: [{name: h, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
        stat_prefix: a, route_config: {}}}]}]}]}";
    let printed =
        print_bootstrap(text, Style { compact: true, mask: &["filter_chains.filters.typed_config"] });
    assert_eq!(
        printed,
        r#"{"filter_chains":[{"filters":[{"typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"a","route_config":{}}}]}]}"#
    );
}

#[test]
fn a_typed_struct_prints_as_one_with_the_messages_own_words() {
    let text = "static_resources: {listeners: [{address: {socket_address: {address: 127.0.0.1, port_value: 80}}, filter_chains: [
        {filters: [{name: h, typed_config: {'@type': type.googleapis.com/udpa.type.v1.TypedStruct, value: {stat_prefix: a, routeConfig: {}},
        type_url: a/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager}}]}]}]}";
    let style = Style { compact: true, mask: &["filter_chains.filters.typed_config"] };
    assert_eq!(
        print_bootstrap(text, style),
        r#"{"filter_chains":[{"filters":[{"typed_config":{"@type":"type.googleapis.com/udpa.type.v1.TypedStruct","type_url":"a/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","value":{"stat_prefix":"a","route_config":{}}}}]}]}"#
    );
}

#[test]
fn secrets_are_redacted() {
    let key = Message::find("envoy.extensions.transport_sockets.tls.v3.TlsCertificate").unwrap();
    let source = |number: u8, text: &[u8]| [&[number << 3 | 2, text.len() as u8][..], text].concat();
    // certificate_chain and private_key, each a DataSource with an inline_string.
    let bytes = [source(1, &source(3, b"PEM")), source(2, &source(3, b"KEY"))].concat();
    assert_eq!(
        print(key, &bytes, Style { compact: true, ..Style::default() }),
        r#"{"certificate_chain":{"inline_string":"PEM"},"private_key":{"inline_string":"[redacted]"}}"#
    );
}

#[test]
fn times_print_as_protobuf_prints_them() {
    assert_eq!(duration(&[0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01]), "1.500s");
    assert_eq!(duration(&[]), "0s");
    assert_eq!(timestamp(&[]), "1970-01-01T00:00:00Z");
    let mut seconds = vec![0x08];
    crate::text::write::put_varint(&mut seconds, 1_709_208_000);
    assert_eq!(timestamp(&seconds), "2024-02-29T12:00:00Z");
}

#[test]
fn base64_is_padded() {
    assert_eq!(base64(b"hello"), "aGVsbG8=");
    assert_eq!(base64(b"hell"), "aGVsbA==");
    assert_eq!(base64(b"hel"), "aGVs");
}
