use crate::pb::envoy::config::core::v3::{Address, SocketAddress, address, socket_address};
use crate::pb::envoy::config::{bootstrap, cluster, route};
use prost::{Message, Name};

#[test]
fn the_slim_structs_speak_the_same_wire_as_the_full_ones() {
    let address = Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: "::".into(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(80)),
            ..Default::default()
        })),
    };
    // socket_address = 1 {address = 2, port_value = 3}
    assert_eq!(address.encode_to_vec(), [0x0a, 6, 0x12, 2, b':', b':', 0x18, 80]);
}

#[test]
fn enums_know_the_built_values_only() {
    use cluster::v3::cluster::LbPolicy;
    assert_eq!(LbPolicy::try_from(0), Ok(LbPolicy::RoundRobin));
    assert_eq!(LbPolicy::RoundRobin.as_str_name(), "ROUND_ROBIN");
    assert!(LbPolicy::try_from(-1).is_err());
}

#[test]
fn names_are_those_of_the_packages() {
    assert_eq!(
        bootstrap::v3::bootstrap::StaticResources::full_name(),
        "envoy.config.bootstrap.v3.Bootstrap.StaticResources"
    );
    assert_eq!(route::v3::Route::type_url(), "type.googleapis.com/envoy.config.route.v3.Route");
}
