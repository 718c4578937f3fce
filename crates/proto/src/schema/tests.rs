use super::*;

#[test]
fn a_field_is_found_in_both_spellings_and_by_number() {
    let cluster = Message::find("envoy.config.cluster.v3.Cluster").unwrap();
    let field = cluster.field_named("connect_timeout").unwrap();
    assert_eq!(cluster.field_named("connectTimeout"), Some(field));
    assert_eq!(cluster.field(field.number()), Some(field));
    assert_eq!(cluster.field_named("connectTimeOut"), None);
}

#[test]
fn every_field_of_every_message_is_found_by_each_of_its_spellings() {
    for message in Message::all() {
        for field in message.fields() {
            assert_eq!(message.field_named(field.name()), Some(field), "{message:?}.{field:?}");
            assert_eq!(message.field_named(field.json_name()), Some(field), "{message:?}.{field:?}");
        }
    }
}

#[test]
fn rules_and_annotations_of_the_descriptors_are_kept() {
    let cluster = Message::find("envoy.config.cluster.v3.Cluster").unwrap();
    assert_eq!(cluster.field_named("name").unwrap().rules(), [Rule::MinChars(1)]);
    let secret = Message::find("envoy.config.core.v3.DataSource").unwrap();
    assert!(secret.oneofs().next().unwrap().required());
    let key = Message::find("envoy.extensions.transport_sockets.tls.v3.TlsCertificate").unwrap();
    assert!(key.field_named("private_key").unwrap().sensitive());
}
