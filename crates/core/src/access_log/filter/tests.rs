use super::*;
use crate::rng::Rng;
use crate::runtime::Layer;
use crate::stream_info::StreamInfo;
use crate::testing::{compiled, entry, headers, stream};
use nuncio_proto::pb::envoy::r#type::v3::FractionalPercent;

fn filter(specifier: Specifier, runtime: &Runtime) -> LogFilter {
    let message = pb::AccessLogFilter { filter_specifier: Some(specifier) };
    compiled(|cx| LogFilter::compile(&message, cx, runtime)).unwrap()
}

fn passes(filter: &LogFilter, info: &StreamInfo, request: &[(&str, &str)]) -> bool {
    let (request, rng) = (headers(request), Rng::seeded(1));
    filter.passes(&entry(info, Some(&request), &rng))
}

fn status(op: Op, value: u32) -> Specifier {
    let value = Some(RuntimeUInt32 { default_value: value, runtime_key: "k".into() });
    let comparison = Some(pb::ComparisonFilter { op: op as i32, value });
    Specifier::StatusCodeFilter(pb::StatusCodeFilter { comparison })
}

#[test]
fn a_status_is_compared_with_a_number_that_runtime_can_replace() {
    let none = Runtime::default();
    for (op, passing) in [
        (Op::Eq, [404].as_slice()),
        (Op::Ge, &[404, 503]),
        (Op::Le, &[0, 200, 404]),
        (Op::Ne, &[0, 200, 503]),
    ] {
        let filter = filter(status(op, 404), &none);
        for code in [0, 200, 404, 503] {
            let mut info = stream();
            info.response_code = Some(code).filter(|c| *c != 0);
            assert_eq!(passes(&filter, &info, &[]), passing.contains(&code), "{op:?} {code}");
        }
    }
    let values = [("k".into(), "500".into())].into();
    let runtime = Runtime::new(vec![Layer { name: "l".into(), values, admin: false }]);
    let mut info = stream();
    info.response_code = Some(500);
    assert!(passes(&filter(status(Op::Eq, 404), &runtime), &info, &[]));
}

#[test]
fn a_share_is_drawn_from_the_request_id() {
    let of = |use_independent_randomness| {
        let percent_sampled = Some(FractionalPercent { numerator: 50, denominator: 0 });
        let runtime_key = "k".into();
        let filter = pb::RuntimeFilter { runtime_key, percent_sampled, use_independent_randomness };
        self::filter(Specifier::RuntimeFilter(filter), &Runtime::default())
    };
    let mut info = stream();
    info.random = 99;
    assert!(passes(&of(false), &info, &[("x-request-id", "00000031-0000")]));
    assert!(!passes(&of(false), &info, &[("x-request-id", "00000032-0000")]));
    assert!(!passes(&of(true), &info, &[("x-request-id", "00000031-0000")]));
    assert!(!passes(&of(false), &info, &[]));
}

#[test]
fn flags_statuses_and_types_are_sets() {
    let none = Runtime::default();
    let flags = |list: &[&str]| {
        let flags = list.iter().map(|s| (*s).to_owned()).collect();
        filter(Specifier::ResponseFlagFilter(pb::ResponseFlagFilter { flags }), &none)
    };
    let mut info = stream();
    assert!(!passes(&flags(&[]), &info, &[]));
    info.flags.set(ResponseFlag::NoRouteFound);
    assert!(passes(&flags(&[]), &info, &[]) && passes(&flags(&["UF", "NR"]), &info, &[]));
    assert!(!passes(&flags(&["UF"]), &info, &[]));
    let grpc = |exclude| {
        let filter = pb::GrpcStatusFilter { statuses: vec![14], exclude };
        self::filter(Specifier::GrpcStatusFilter(filter), &none)
    };
    info.response_code = Some(503);
    assert!(passes(&grpc(false), &info, &[]) && !passes(&grpc(true), &info, &[]));
    let types = |exclude| {
        let filter = pb::LogTypeFilter { types: vec![LogType::DownstreamEnd as i32], exclude };
        self::filter(Specifier::LogTypeFilter(filter), &none)
    };
    assert!(passes(&types(false), &info, &[]) && !passes(&types(true), &info, &[]));
}

#[test]
fn and_needs_all_or_needs_one() {
    let message = |s| pb::AccessLogFilter { filter_specifier: Some(s) };
    let filters = vec![
        message(status(Op::Ge, 400)),
        message(Specifier::NotHealthCheckFilter(pb::NotHealthCheckFilter {})),
    ];
    let none = Runtime::default();
    let all = filter(Specifier::AndFilter(pb::AndFilter { filters: filters.clone() }), &none);
    let any = filter(Specifier::OrFilter(pb::OrFilter { filters }), &none);
    let mut info = stream();
    info.response_code = Some(200);
    assert!(!passes(&all, &info, &[]) && passes(&any, &info, &[]));
    info.health_check = true;
    assert!(!passes(&any, &info, &[]));
}
