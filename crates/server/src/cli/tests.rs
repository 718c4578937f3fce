use super::*;

fn refusal(args: &[&str]) -> String {
    let stop = parse(std::iter::once(&"nuncio").chain(args)).unwrap_err();
    assert!(!stop.asked, "{}", stop.text);
    stop.text
}

#[test]
fn what_envoy_refuses_is_refused_in_its_words() {
    let rows: [(&[&str], &str); 11] = [
        (&["--mode", "foo"], "error: unknown mode 'foo'"),
        (&["--log-level", "foo"], "error: invalid log level specified 'foo'"),
        (&["--component-log-level", "foo"], "error: component log level not correctly specified 'foo'"),
        (&["--component-log-level", "foo:debug"], "error: invalid component specified 'foo'"),
        (&["--component-log-level", "http:foo"], "error: invalid log level specified 'foo'"),
        (&["--drain-strategy", "x"], "error: unknown drain-strategy 'x'"),
        (&["--local-address-ip-version", "v5"], "error: unknown IP address version 'v5'"),
        (
            &["--restart-epoch", "1", "--use-dynamic-base-id"],
            "error: cannot use --restart-epoch=1 with --use-dynamic-base-id",
        ),
        (&["--concurrency", "x"], "invalid value 'x'"),
        (&["--bogus"], "unexpected argument '--bogus'"),
        (&["--mode", "serve", "--mode", "serve"], "cannot be used multiple times"),
    ];
    for (args, words) in rows {
        let text = refusal(args);
        assert!(text.contains(words), "{args:?}: {text}");
    }
}

#[test]
fn levels_of_components_are_taken_apart() {
    let o = parse(["nuncio", "--component-log-level", "http:warn,upstream:trace", "-l", "off"]).unwrap();
    let levels = o.component_log_levels().unwrap();
    assert_eq!(levels, [("http", crate::log::Level::Warning), ("upstream", crate::log::Level::Trace)]);
}

#[test]
fn versions_are_answers_and_not_mistakes() {
    let stop = parse(["nuncio", "--version"]).unwrap_err();
    assert!(stop.asked && stop.text.contains("/1.40.0/"), "{}", stop.text);
    let stop = parse(["nuncio", "--hot-restart-version"]).unwrap_err();
    assert_eq!((stop.asked, stop.text.as_str()), (true, "11.104\n"));
    let stop = parse(["nuncio", "--hot-restart-version", "--disable-hot-restart"]).unwrap_err();
    assert_eq!((stop.asked, stop.text.as_str()), (true, "disabled\n"));
    assert!(parse(["nuncio", "--help"]).unwrap_err().asked);
}

#[test]
fn no_workers_means_one_and_nothing_said_means_as_many_as_may_run() {
    assert_eq!(parse(["nuncio", "--concurrency", "0"]).unwrap().concurrency(), 1);
    assert!(parse(["nuncio"]).unwrap().concurrency() >= 1);
}

#[test]
fn a_flag_without_effect_is_named() {
    let o = parse(["nuncio", "--base-id", "3", "--disable-hot-restart"]).unwrap();
    assert_eq!(o.without_effect(), [("--base-id", "hot restart is not built")]);
}
