//! The whole way from text to checked resources.

use crate::context::{CompileContext, Sink, Unsupported};
use crate::error::{ConfigError, ErrorKind, Errors};
use crate::place::{FileId, Place, PlaceTree};
use crate::schema::Message;
use crate::text::{self, Format};
use crate::validate::{self, Outcome};
use crate::wire::{Reader, Wire};

/// A text to load.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What errors call it: the path as the operator wrote it, or `--config-yaml`.
    pub name: &'a str,
    /// The text.
    pub bytes: &'a [u8],
    /// How it is written.
    pub format: Format,
}

impl<'a> Source<'a> {
    /// A file: its name decides between YAML and JSON, as in Envoy.
    pub fn file(name: &'a str, bytes: &'a [u8]) -> Self {
        Source { name, bytes, format: Format::of_file(name) }
    }

    /// A text in YAML, such as that of `--config-yaml`.
    pub fn yaml(name: &'a str, bytes: &'a [u8]) -> Self {
        Source { name, bytes, format: Format::Yaml }
    }
}

/// What a load permits.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// What happens to known fields that are not built.
    pub unsupported: Unsupported,
    /// Unknown fields are warnings (`--allow-unknown-static-fields`).
    pub allow_unknown_static_fields: bool,
}

/// One resource as wire bytes, with the positions of its fields.
#[derive(Clone, Debug)]
pub struct Resource {
    message: Message,
    path: String,
    name: String,
    bytes: Vec<u8>,
    places: Option<PlaceTree>,
}

impl Resource {
    /// A resource of a type. `path` stands before the paths of its fields in errors; `places` are none for xDS.
    pub fn new(message: Message, path: String, bytes: Vec<u8>, places: Option<PlaceTree>) -> Self {
        let name_field = message.field_named("name").map(|field| field.number());
        let mut name = String::new();
        for (number, wire) in Reader::new(&bytes).flatten() {
            if let (true, Wire::Bytes(text)) = (Some(number) == name_field, wire) {
                name = String::from_utf8_lossy(text).into_owned();
            }
        }
        Resource { message, path, name, bytes, places }
    }

    /// The message type.
    pub fn message(&self) -> Message {
        self.message
    }

    /// The message's full name.
    pub fn type_name(&self) -> &'static str {
        self.message.name()
    }

    /// The field `name`; empty where the resource has none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The wire bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The wire bytes alone; the positions are gone.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.shrink_to_fit();
        self.bytes
    }

    /// Where the resource begins.
    pub fn place(&self) -> Option<Place> {
        self.places.as_ref().map(|tree| tree.place(tree.root()))
    }

    /// The bytes as a message; fails only where they are no protobuf.
    pub fn decode<M: prost::Message + Default>(&self) -> Result<M, prost::DecodeError> {
        M::decode(self.bytes.as_slice())
    }

    /// The cursor at the top of this resource.
    pub fn context<'a>(&'a self, sink: &'a Sink) -> CompileContext<'a> {
        CompileContext::root(sink, &self.path, self.places.as_ref())
    }

    /// Checks constraints and support; errors and warnings go to the sink, unbuilt parts leave the bytes where the
    /// sink makes them warnings.
    pub fn check(&mut self, sink: &Sink) {
        let outcome = validate::check(self.message, &self.bytes, &self.context(sink));
        match outcome {
            Outcome::Keep => {}
            Outcome::Replace(bytes) => self.bytes = bytes,
            Outcome::Drop => self.bytes.clear(),
        }
    }
}

/// A configuration that may be compiled.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The bootstrap without the items of `static_resources`.
    pub bootstrap: Resource,
    /// `static_resources.listeners`.
    pub listeners: Vec<Resource>,
    /// `static_resources.clusters`.
    pub clusters: Vec<Resource>,
    /// `static_resources.secrets`.
    pub secrets: Vec<Resource>,
}

const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// Loads a bootstrap of which nothing will be compiled, so that what [`read`] finds is all that can be told.
///
/// Fails with everything that is wrong; the warnings are dropped.
pub fn load(sources: &[Source<'_>], options: LoadOptions) -> Result<Loaded, Errors> {
    let sink = Sink::new(options.unsupported);
    let loaded = read(sources, options.allow_unknown_static_fields, &sink);
    let (errors, _) = sink.finish();
    loaded.filter(|_| errors.is_empty()).ok_or(errors)
}

/// Reads a bootstrap. Later sources are merged over earlier ones: lists grow, single values are replaced.
///
/// The sink learns everything that is wrong in the texts, in the constraints, and in what is set and not built.
/// What could be read is given all the same, so that a caller can compile it and tell what is wrong there in the same
/// run: the sink drops what would only follow from these errors. `None` where a text is no YAML or JSON, of which
/// nothing further can be said.
pub fn read(sources: &[Source<'_>], allow_unknown_static_fields: bool, sink: &Sink) -> Option<Loaded> {
    let Some(message) = Message::find(BOOTSTRAP) else {
        sink.error(whole(None, "the schema has no bootstrap".into()));
        return None;
    };
    let (mut bytes, mut places) = (Vec::new(), None::<PlaceTree>);
    let mut resources: Vec<Resource> = Vec::new();
    for source in sources {
        let file = FileId::of(source.name);
        let text = match std::str::from_utf8(source.bytes) {
            Ok(text) => text,
            Err(error) => {
                sink.error(not_utf8(file, source.bytes, error.valid_up_to()));
                continue;
            }
        };
        let request = text::Request { file, text, message, allow_unknown: allow_unknown_static_fields };
        let document = text::read(request, source.format, resources);
        bytes.extend(document.bytes);
        places = Some(match places {
            Some(places) => places.merged(&document.places, message),
            None => document.places,
        });
        resources = document.resources;
        document.errors.into_iter().for_each(|error| sink.error(error));
        document.warnings.into_iter().for_each(|warning| sink.warning(warning));
    }
    let readable = !sink.has_error_of(ErrorKind::Syntax);
    let mut bootstrap = Resource::new(message, String::new(), bytes, places);
    if readable {
        bootstrap.check(sink);
    }
    let (mut listeners, mut clusters, mut secrets) = (Vec::new(), Vec::new(), Vec::new());
    for mut resource in resources {
        let (list, field) = match resource.type_name() {
            "envoy.config.listener.v3.Listener" => (&mut listeners, "listeners"),
            "envoy.config.cluster.v3.Cluster" => (&mut clusters, "clusters"),
            _ => (&mut secrets, "secrets"),
        };
        if supported_list(field, &resource, sink) {
            resource.check(sink);
            list.push(resource);
        }
    }
    sink.end_of_reading();
    readable.then_some(Loaded { bootstrap, listeners, clusters, secrets })
}

/// A discovery response that was read from a text.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// The `envoy.service.discovery.v3.DiscoveryResponse`, its resources in it.
    pub response: Resource,
    /// How many fields the text sets that no message has.
    pub unknown_fields: u64,
    /// Parts of the text could not be read at all.
    pub misread: bool,
}

/// Reads a discovery response; the sink learns what is wrong with it. `None` where the text is no YAML or JSON.
pub fn discovery(source: &Source<'_>, allow_unknown: bool, sink: &Sink) -> Option<Discovery> {
    let name = "envoy.service.discovery.v3.DiscoveryResponse";
    let (response, unknown_fields, misread) = one(source, name, allow_unknown, sink)?;
    Some(Discovery { response, unknown_fields, misread })
}

/// Reads a message of this type; the sink learns what is wrong with it. `None` where the text is no YAML or JSON.
pub fn message(source: &Source<'_>, name: &str, sink: &Sink) -> Option<Resource> {
    one(source, name, false, sink).map(|(resource, ..)| resource)
}

/// The same, how many fields nobody knows, and whether parts could not be read.
fn one(source: &Source<'_>, name: &str, allow_unknown: bool, sink: &Sink) -> Option<(Resource, u64, bool)> {
    let Some(message) = Message::find(name) else {
        sink.error(whole(None, format!("the schema has no {name}")));
        return None;
    };
    let file = FileId::of(source.name);
    let text = match std::str::from_utf8(source.bytes) {
        Ok(text) => text,
        Err(error) => {
            sink.error(not_utf8(file, source.bytes, error.valid_up_to()));
            return None;
        }
    };
    let request = text::Request { file, text, message, allow_unknown };
    let document = text::read(request, source.format, Vec::new());
    let unknown_fields =
        document.warnings.iter().filter(|w| w.kind == ErrorKind::UnknownField).count() as u64;
    let misread = document.errors.iter().any(|e| e.kind != ErrorKind::UnknownField);
    document.errors.into_iter().for_each(|error| sink.error(error));
    document.warnings.into_iter().for_each(|warning| sink.warning(warning));
    if sink.has_error_of(ErrorKind::Syntax) {
        return None;
    }
    let mut resource = Resource::new(message, String::new(), document.bytes, Some(document.places));
    resource.check(sink);
    sink.end_of_reading();
    Some((resource, unknown_fields, misread))
}

/// The items of `static_resources` stand outside of the bootstrap's bytes: their field's own state is looked at here.
/// False where they count as absent.
fn supported_list(field: &str, resource: &Resource, sink: &Sink) -> bool {
    use crate::schema::State;
    let list = Message::find("envoy.config.bootstrap.v3.Bootstrap.StaticResources")
        .and_then(|m| m.field_named(field));
    if list.is_some_and(|list| list.state() == State::Built) {
        return true;
    }
    resource.context(sink).unsupported("is not supported yet");
    false
}

fn whole(place: Option<Place>, message: String) -> ConfigError {
    ConfigError { place, path: String::new(), message, hint: None, kind: ErrorKind::Syntax }
}

fn not_utf8(file: FileId, bytes: &[u8], at: usize) -> ConfigError {
    let before = bytes.get(..at).unwrap_or_default();
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let col = String::from_utf8_lossy(before.get(start..).unwrap_or_default()).chars().count() + 1;
    let place = Place {
        file,
        line: u32::try_from(line).unwrap_or(u32::MAX),
        col: u16::try_from(col).unwrap_or(u16::MAX),
    };
    whole(Some(place), "the text is not UTF-8".into())
}

#[cfg(test)]
mod tests;
