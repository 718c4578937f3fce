use super::*;
use nuncio_core::config::{Sink, Unsupported};
use prost::Message;
use prost_types::Any;

/// What compiles, or the texts of the errors.
fn compiled<T>(compile: impl FnOnce(&CompileContext<'_>) -> Option<T>) -> Result<T, String> {
    let sink = Sink::new(Unsupported::Refuse);
    let got = compile(&CompileContext::root(&sink, "hcm", None));
    let (errors, _) = sink.finish();
    got.ok_or_else(|| errors.to_string())
}

fn cidr(prefix: &str, len: u32) -> core_pb::CidrRange {
    core_pb::CidrRange { address_prefix: prefix.into(), prefix_len: Some(len) }
}

fn extension<M: Message + Name>(name: &str, message: &M) -> core_pb::TypedExtensionConfig {
    let typed_config = Any { type_url: M::type_url(), value: message.encode_to_vec() };
    core_pb::TypedExtensionConfig { name: name.into(), typed_config: Some(typed_config) }
}

#[test]
fn internal_addresses_are_none_private_or_ranges() {
    let message = |cidr_ranges| InternalAddressConfig { unix_sockets: true, cidr_ranges };
    assert_eq!(compiled(|cx| internal_addresses(None, cx)), Ok(InternalAddresses::None));
    let private = compiled(|cx| internal_addresses(Some(&message(vec![])), cx));
    assert_eq!(private, Ok(InternalAddresses::Private { unix_sockets: true }));
    let ranges = compiled(|cx| internal_addresses(Some(&message(vec![cidr("10.0.0.0", 8)])), cx));
    assert!(matches!(ranges, Ok(InternalAddresses::Ranges { ranges, .. }) if !ranges.is_empty()));
    for (prefix, len) in [("127.0.0.x", 8), ("", 0)] {
        let error = compiled(|cx| internal_addresses(Some(&message(vec![cidr(prefix, len)])), cx));
        let error = error.unwrap_err();
        assert!(error.contains(&format!("invalid ip/mask combo '{prefix}/{len}'")), "{error}");
        assert!(error.contains("hcm.cidr_ranges[0]"), "{error}");
    }
}

#[test]
fn detections_compile_in_their_order() {
    let xff = detection_pb::xff::v3::XffConfig { xff_num_trusted_hops: 2, ..Default::default() };
    let proxies = detection_pb::xff::v3::XffConfig {
        xff_trusted_cidrs: Some(detection_pb::xff::v3::XffTrustedCidrs { cidrs: vec![cidr("10.0.0.0", 8)] }),
        skip_xff_append: Some(false),
        ..Default::default()
    };
    let custom = |code| detection_pb::custom_header::v3::CustomHeaderConfig {
        header_name: "X-Real-IP".into(),
        allow_extension_to_set_address_as_trusted: true,
        reject_with_status: Some(HttpStatus { code }),
    };
    let list = [extension("a", &xff), extension("b", &proxies), extension("c", &custom(404))];
    let got = compiled(|cx| original_ip_detection(&list, cx)).unwrap();
    assert_eq!(got[0], Detection::Xff { trust: XffTrust::Hops(2), skip_append: true });
    assert!(
        matches!(&got[1], Detection::Xff { trust: XffTrust::Proxies(p), skip_append: false } if !p.is_empty())
    );
    let want =
        |status| Detection::CustomHeader { name: "x-real-ip".into(), trusted: true, reject: Some(status) };
    assert_eq!(got[2], want(404));
    let got = compiled(|cx| original_ip_detection(&[extension("c", &custom(200))], cx));
    assert_eq!(got, Ok(vec![want(403)]), "a status that is no error");
}

#[test]
fn detections_that_do_not_fit_are_refused() {
    let both = detection_pb::xff::v3::XffConfig {
        xff_num_trusted_hops: 1,
        xff_trusted_cidrs: Some(detection_pb::xff::v3::XffTrustedCidrs { cidrs: vec![cidr("10.0.0.0", 8)] }),
        skip_xff_append: None,
    };
    let error = compiled(|cx| original_ip_detection(&[extension("x", &both)], cx)).unwrap_err();
    assert!(error.contains("Cannot set both xff_num_trusted_hops and xff_trusted_cidrs"), "{error}");
    let other = extension("y", &UuidRequestIdConfig::default());
    let error = compiled(|cx| original_ip_detection(&[other], cx)).unwrap_err();
    assert!(error.contains("Original IP detection extension not found: 'y'"), "{error}");
}

#[test]
fn request_ids_take_their_extension() {
    let ids = RequestIds::default();
    assert_eq!(compiled(|cx| request_id_extension(ids, None, cx)), Ok(ids));
    let of = |any: Option<Any>| pb::RequestIdExtension { typed_config: any };
    assert_eq!(compiled(|cx| request_id_extension(ids, Some(&of(None)), cx)), Ok(ids));
    let config = UuidRequestIdConfig {
        pack_trace_reason: Some(false),
        use_request_id_for_trace_sampling: Some(false),
    };
    let message = of(extension("", &config).typed_config);
    let want = RequestIds { pack_trace_reason: false, trace_sampling: false, ..ids };
    assert_eq!(compiled(|cx| request_id_extension(ids, Some(&message), cx)), Ok(want));
    let other = of(extension("", &detection_pb::xff::v3::XffConfig::default()).typed_config);
    let error = compiled(|cx| request_id_extension(ids, Some(&other), cx)).unwrap_err();
    assert!(error.contains("Didn't find a registered implementation for type:"), "{error}");
}

#[test]
fn schemes_ports_and_certificate_modes_compile() {
    use core_pb::scheme_header_transformation::Transformation;
    let compiled = |text: Option<&str>, match_upstream| {
        let transformation = text.map(|text| Transformation::SchemeToOverwrite(text.into()));
        scheme_transformation(Some(core_pb::SchemeHeaderTransformation { transformation, match_upstream }))
    };
    let want = |overwrite, match_upstream| SchemeTransformation { overwrite, match_upstream };
    assert_eq!(scheme_transformation(None), want(None, false));
    assert_eq!(compiled(None, true), want(None, true));
    assert_eq!(compiled(Some("https"), false), want(Some(Scheme::Https), false));
    assert_eq!(compiled(Some("http"), false), want(Some(Scheme::Http), false));
    let ports = pb::ForwardProtoConfig {
        https_destination_ports: vec![443, 70_000],
        http_destination_ports: vec![80],
    };
    let want = ProtoByPort { https: Box::new([443]), http: Box::new([80]) };
    assert_eq!(proto_by_port(Some(ports)), want);
}
