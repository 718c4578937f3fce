//! Text becomes wire bytes: YAML and JSON, one pass over events, no document tree.
//!
//! `--config-yaml` and files named `.yaml` or `.yml` are YAML, every other file is JSON, as in Envoy.

mod encode;
mod json;
mod relax;
mod scalar;
mod token;
pub(crate) mod write;
mod yaml;

use crate::error::{ConfigError, ErrorKind};
use crate::load::Resource;
use crate::place::{FileId, Mark, Place, PlaceTree, PlaceTreeBuilder};
use crate::schema::Message;
use token::{Source, SyntaxError, Tokens};

pub(crate) use encode::any::AS_WRITTEN;
pub(crate) use scalar::snake_case;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.1 in the reading of yaml-cpp.
    Yaml,
    /// JSON in the reading of protobuf's legacy mode.
    Json,
}

impl Format {
    /// The format of a file, by its name's ending in any letter case.
    pub fn of_file(name: &str) -> Format {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
        if matches!(ending.as_deref(), Some("yaml" | "yml")) { Format::Yaml } else { Format::Json }
    }
}

/// What one document came to. With errors the bytes hold what could be read.
pub(crate) struct Document {
    pub(crate) bytes: Vec<u8>,
    pub(crate) places: PlaceTree,
    /// Items of `static_resources`, which stand here and not in the bytes.
    pub(crate) resources: Vec<Resource>,
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) warnings: Vec<ConfigError>,
}

/// What is read, and as what.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) file: FileId,
    pub(crate) text: &'a str,
    pub(crate) message: Message,
    /// Unknown fields are warnings.
    pub(crate) allow_unknown: bool,
}

/// Reads one document as a message. `earlier` are the resources of the documents before it, which come first in the
/// result.
pub(crate) fn read(request: Request<'_>, format: Format, mut earlier: Vec<Resource>) -> Document {
    let before = encode::Counts::of(&earlier);
    let mut document = read_once(request, format, &before);
    let broken = |document: &Document| document.errors.iter().any(|error| error.kind == ErrorKind::Syntax);
    if format == Format::Yaml
        && broken(&document)
        && let Some(relaxed) = relax::relax(request.text)
    {
        let second = read_once(Request { text: &relaxed, ..request }, format, &before);
        if !broken(&second) {
            document = second;
        }
    }
    if !earlier.is_empty() {
        earlier.append(&mut document.resources);
        document.resources = earlier;
    }
    document
}

fn read_once(request: Request<'_>, format: Format, before: &encode::Counts) -> Document {
    let Request { file, text, message, allow_unknown } = request;
    let mut yaml;
    let mut json;
    let source: &mut dyn Source<'_> = match format {
        Format::Yaml => {
            yaml = yaml::Yaml::new(text);
            &mut yaml
        }
        Format::Json => {
            json = json::Json::new(text);
            &mut json
        }
    };
    let mut encoder = encode::Encoder {
        tokens: Tokens::new(source),
        out: Vec::new(),
        places: PlaceTreeBuilder::new(file),
        file,
        path: Vec::new(),
        errors: Vec::new(),
        warnings: Vec::new(),
        allow_unknown,
        resources: Vec::new(),
        before,
    };
    let open = encoder.places.open();
    let mark = match encoder.document(message) {
        Ok(mark) => mark,
        Err(error) => {
            // What is half read has no lengths yet.
            encoder.out.clear();
            encoder.errors.push(syntax(file, error));
            Mark { line: 1, col: 1 }
        }
    };
    Document {
        bytes: encoder.out,
        places: encoder.places.finish(open, mark),
        resources: encoder.resources,
        errors: encoder.errors,
        warnings: encoder.warnings,
    }
}

fn syntax(file: FileId, error: SyntaxError) -> ConfigError {
    let place = Some(Place { file, line: error.mark.line, col: error.mark.col });
    ConfigError { place, path: String::new(), message: error.message, hint: None, kind: ErrorKind::Syntax }
}

#[cfg(test)]
mod tests;
