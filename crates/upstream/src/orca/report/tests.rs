use super::*;

fn headers(name: &str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::default();
    headers.append(name, value.as_bytes());
    headers
}

fn read(value: &str) -> Option<(f64, f64)> {
    LoadReport::find(&headers(HEADER, value)).map(|report| (report.requests, report.busy(&[])))
}

#[test]
fn a_report_is_read_in_each_format() {
    let report = LoadReport { requests: 100.0, application: 0.5, ..LoadReport::default() };
    let bytes = BASE64.encode(report.encode_to_vec());
    for value in [
        "TEXT rps_fractional=100,application_utilization=0.5",
        "TEXT rps_fractional:100, application_utilization= 5e-1,",
        r#"JSON {"rps_fractional": 100, "applicationUtilization": "0.5", "eps": null, "rps": 3}"#,
        &format!("BIN {bytes}"),
    ] {
        assert_eq!(read(value), Some((100.0, 0.5)), "{value}");
    }
    let bare = bytes.trim_end_matches('=');
    assert_eq!(LoadReport::find(&headers(HEADER_BIN, bare)), Some(report));
}

#[test]
fn what_is_wrong_in_one_place_is_no_report() {
    for value in [
        "",
        "TEXT",
        "text rps_fractional=100",
        "rps_fractional=100",
        "TEXT rps_fractional=100,other=1",
        "TEXT rps_fractional=100,rps_fractional=100",
        "TEXT rps_fractional =100",
        "TEXT rps_fractional=-1",
        "TEXT rps_fractional=inf",
        "TEXT named_metrics.=1",
        r#"JSON {"other": 1}"#,
        r#"JSON {"eps": true}"#,
        "JSON [1]",
        "BIN ",
        "BIN !!!",
    ] {
        assert_eq!(read(value), None, "{value}");
    }
}

#[test]
fn the_metrics_asked_for_come_before_the_applications_and_the_processors() {
    let text = "cpu_utilization=0.1,application_utilization=0.5,named_metrics.a=0.2,named_metrics.b=0.3";
    let report = LoadReport::of_text(text).unwrap();
    let busy = |names: &[&str]| report.busy(&names.iter().map(|n| (*n).into()).collect::<Vec<_>>());
    assert_eq!((busy(&[]), busy(&["named_metrics.a"])), (0.5, 0.2));
    assert_eq!((busy(&["named_metrics.*"]), busy(&["a", "named_metrics.c"])), (0.3, 0.5));
    assert_eq!((busy(&["cpu_utilization", "named_metrics.a"]), busy(&["named_metrics"])), (0.2, 0.5));
    let report = LoadReport { application: f64::NAN, ..report };
    assert_eq!(report.busy(&[]), 0.1);
}
