use super::*;

#[test]
fn a_decision_is_json_by_both_kinds_of_names_and_leaves_out_what_is_empty() {
    let headers = vec![("x-a".into(), b"a\"b".to_vec()), ("x-e".into(), Vec::new())];
    let denied = Decision { result: "DENIED", status: 401, headers };
    let json = r#"{"checkResult":"DENIED","statusCode":401,"responseHeaders":[{"key":"x-a","value":"a\"b"},{"key":"x-e"}]}"#;
    assert_eq!(denied.json().as_deref(), Some(json));
    let plain = Decision { result: "OK", status: 200, headers: Vec::new() };
    assert_eq!(plain.serialize().as_deref(), Some(r#"{"check_result":"OK","status_code":200}"#));
    assert_eq!(plain.field("status_code").as_deref(), Some("200"));
    assert_eq!(plain.field("response_headers"), None);
}

#[test]
fn nothing_is_told_of_a_question_before_it_is_over() {
    let asked = Asked::default();
    assert_eq!(asked.field("latency_us"), None);
    asked.ended(Duration::from_millis(2), Some((7, 9)));
    let fields = ["latency_us", "bytesSent", "bytesReceived", "k"].map(|name| asked.field(name));
    assert_eq!(fields, [Some("2000".into()), Some("7".into()), Some("9".into()), None]);
}
