//! Access logs that write lines to files, standard output and standard error.

use nuncio_core::access_log::{AccessLog, AccessLogFactory};
use nuncio_core::config::CompileContext;
use nuncio_core::format::{Commands, DEFAULT_FORMAT, FormatContext, LineFormat};
use nuncio_net::log_files::{LogFile, LogFiles, opened};
use nuncio_proto::pb::envoy::config::core::v3::SubstitutionFormatString;
use nuncio_proto::pb::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use nuncio_proto::pb::envoy::extensions::access_loggers::stream::v3 as stream;
use std::io;
use std::sync::Arc;

/// A format and the file that its lines go to.
#[derive(Debug)]
struct LineLog {
    file: Arc<LogFile>,
    format: LineFormat,
}

impl AccessLog for LineLog {
    fn log(&self, cx: &FormatContext<'_>, worker: usize) {
        self.file.append(worker, |buffer| self.format.render(cx, buffer));
    }
}

fn default_format(cx: &CompileContext<'_>) -> Option<LineFormat> {
    LineFormat::text(DEFAULT_FORMAT, &Commands::default(), false, cx)
}

/// `envoy.extensions.access_loggers.file.v3.FileAccessLog`.
pub struct FileAccessLogFactory(pub Arc<LogFiles>);

impl AccessLogFactory for FileAccessLogFactory {
    type Config = FileAccessLog;

    fn compile(&self, config: FileAccessLog, cx: &CompileContext<'_>) -> Option<Arc<dyn AccessLog>> {
        use file_access_log::AccessLogFormat as Format;
        let FileAccessLog { path, access_log_format } = config;
        let commands = Commands::default();
        let format = match &access_log_format {
            None => default_format(cx),
            Some(Format::Format(text)) if text.is_empty() => default_format(cx),
            Some(Format::Format(text)) => LineFormat::text(text, &commands, false, &cx.field("format")),
            Some(Format::JsonFormat(tree)) => {
                LineFormat::json(tree, &commands, false, &cx.field("json_format"))
            }
            Some(Format::TypedJsonFormat(tree)) => {
                LineFormat::json(tree, &commands, false, &cx.field("typed_json_format"))
            }
            Some(Format::LogFormat(message)) => LineFormat::compile(message, &cx.field("log_format")),
        };
        let file = self.0.open_for(&path, &cx.field("path"));
        Some(Arc::new(LineLog { file: file?, format: format? }))
    }
}

fn compile_stream(
    log_format: Option<&SubstitutionFormatString>,
    file: io::Result<Arc<LogFile>>,
    name: &str,
    cx: &CompileContext<'_>,
) -> Option<Arc<dyn AccessLog>> {
    let format = match log_format {
        None => default_format(cx),
        Some(message) => LineFormat::compile(message, &cx.field("log_format")),
    };
    Some(Arc::new(LineLog { file: opened(file, name, cx)?, format: format? }))
}

/// `envoy.extensions.access_loggers.stream.v3.StdoutAccessLog`.
pub struct StdoutAccessLogFactory(pub Arc<LogFiles>);

impl AccessLogFactory for StdoutAccessLogFactory {
    type Config = stream::StdoutAccessLog;

    fn compile(
        &self,
        config: stream::StdoutAccessLog,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn AccessLog>> {
        let stream::StdoutAccessLog { access_log_format } = config;
        let format = access_log_format
            .as_ref()
            .map(|stream::stdout_access_log::AccessLogFormat::LogFormat(message)| message);
        compile_stream(format, self.0.stdout(), "stdout", cx)
    }
}

/// `envoy.extensions.access_loggers.stream.v3.StderrAccessLog`.
pub struct StderrAccessLogFactory(pub Arc<LogFiles>);

impl AccessLogFactory for StderrAccessLogFactory {
    type Config = stream::StderrAccessLog;

    fn compile(
        &self,
        config: stream::StderrAccessLog,
        cx: &CompileContext<'_>,
    ) -> Option<Arc<dyn AccessLog>> {
        let stream::StderrAccessLog { access_log_format } = config;
        let format = access_log_format
            .as_ref()
            .map(|stream::stderr_access_log::AccessLogFormat::LogFormat(message)| message);
        compile_stream(format, self.0.stderr(), "stderr", cx)
    }
}

#[cfg(test)]
mod tests;
