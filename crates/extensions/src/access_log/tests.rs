use super::*;
use nuncio_core::config::{Sink, Unsupported};
use nuncio_core::stats::Registry;
use nuncio_net::log_files::FlushOptions;

#[test]
fn a_file_that_cannot_be_opened_and_a_bad_format_are_both_reported() {
    let registry = Registry::new();
    let files = Arc::new(LogFiles::new(&registry, 1, FlushOptions::default()));
    let sink = Sink::new(Unsupported::Refuse);
    let cx = CompileContext::root(&sink, "access_log[0]", None);
    let access_log_format = Some(file_access_log::AccessLogFormat::Format("%FOO%".to_owned()));
    let config = FileAccessLog { path: "/nuncio-no-such-folder/x".to_owned(), access_log_format };
    assert!(FileAccessLogFactory(files).compile(config, &cx).is_none());
    let (errors, _) = sink.finish();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "access_log[0].format: Not supported field in StreamInfo: FOO",
            "access_log[0].path: unable to open file '/nuncio-no-such-folder/x': No such file or directory (os error 2)",
        ]
    );
}
