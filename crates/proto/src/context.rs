//! The cursor that a compile step moves through a message, so that every error knows its path and place.

use crate::error::{ConfigError, ErrorKind, Errors};
use crate::place::{Node, Place, PlaceTree, key};
use crate::text::snake_case;
use prost::{Message, Name};
use prost_types::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt::{self, Write};

/// What happens to a known field that nuncio does not honour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Unsupported {
    /// It is an error.
    #[default]
    Refuse,
    /// It is a warning, and the field counts as absent.
    Warn,
}

/// How large RE2's program for a regular expression may be, in instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegexLimits {
    /// More is an error.
    pub error: u64,
    /// More is a warning.
    pub warn: u64,
}

impl Default for RegexLimits {
    /// None: what is read before runtime keys are known is not limited.
    fn default() -> Self {
        Self { error: u64::MAX, warn: u64::MAX }
    }
}

/// Collects the errors and warnings of one load. All contexts of the load share it.
#[derive(Debug, Default)]
pub struct Sink {
    unsupported: Unsupported,
    errors: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<ConfigError>>,
    told: RefCell<Told>,
    regex_limits: Cell<RegexLimits>,
}

/// Where reading a text found errors, so that compiling what is left does not tell of their consequences.
#[derive(Debug, Default)]
struct Told {
    /// Paths with an error.
    at: HashSet<String>,
    /// The paths of what holds these directly.
    around: HashSet<String>,
}

impl Told {
    fn insert(&mut self, path: String) {
        for parent in parents(&path).take(1) {
            self.around.insert(parent.to_owned());
        }
        self.at.insert(path);
    }

    /// Whether an error at `path` is one that was told, in other words: at the same place, inside of what could not be
    /// read, or about something that lacks a part which could not be read.
    fn covers(&self, path: &str) -> bool {
        !self.at.is_empty()
            && (self.at.contains(path)
                || self.around.contains(path)
                || parents(path).any(|parent| self.at.contains(parent)))
    }
}

/// What holds the thing at `path`, the nearest first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.char_indices().rev().filter(|(_, c)| matches!(c, '.' | '[')).filter_map(|(at, _)| path.get(..at))
}

impl Sink {
    /// An empty sink.
    pub fn new(unsupported: Unsupported) -> Self {
        Sink { unsupported, ..Sink::default() }
    }

    /// What happens to a known field that nuncio does not honour.
    pub fn unsupported(&self) -> Unsupported {
        self.unsupported
    }

    /// Records an error.
    pub fn error(&self, error: ConfigError) {
        self.errors.borrow_mut().push(error);
    }

    /// Records a warning.
    pub fn warning(&self, warning: ConfigError) {
        self.warnings.borrow_mut().push(warning);
    }

    /// Ends the reading: from here on an error that only follows from those recorded so far is dropped.
    pub(crate) fn end_of_reading(&self) {
        let mut told = self.told.borrow_mut();
        for error in &*self.errors.borrow() {
            match (error.kind, &error.hint) {
                // The message lacks nothing by it, but for the field that was meant.
                (ErrorKind::UnknownField, None) => {}
                (ErrorKind::UnknownField, Some(meant)) => {
                    told.insert(format!("{}.{}", error.path, snake_case(meant)));
                }
                _ => told.insert(error.path.clone()),
            }
        }
    }

    /// True where reading found an error at exactly this path.
    pub fn told_of(&self, path: &str) -> bool {
        self.told.borrow().at.contains(path)
    }

    pub(crate) fn has_error_of(&self, kind: ErrorKind) -> bool {
        self.errors.borrow().iter().any(|error| error.kind == kind)
    }

    /// Limits regular expressions from now on.
    pub fn set_regex_limits(&self, limits: RegexLimits) {
        self.regex_limits.set(limits);
    }

    /// How many errors are recorded.
    pub fn error_count(&self) -> usize {
        self.errors.borrow().len()
    }

    /// True once an error is recorded.
    pub fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// The errors and the warnings, by position.
    pub fn finish(self) -> (Errors, Errors) {
        (Errors::new(self.errors.into_inner()), Errors::new(self.warnings.into_inner()))
    }
}

/// Proof that an error is in the sink, for `Result`s: `return Err(cx.error("no such cluster"))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported;

/// One step of a path.
#[derive(Clone, Copy)]
enum Step<'a> {
    Root(&'a str),
    Field(&'a str),
    Index(usize),
    Item(&'a str, usize),
    Key(&'a str),
}

/// A position in a configuration: borrows its parent, costs no allocation.
///
/// Without positions (xDS) the path still works and the place is that of the whole.
#[derive(Clone, Copy)]
pub struct CompileContext<'a> {
    parent: Option<&'a CompileContext<'a>>,
    step: Step<'a>,
    tree: Option<&'a PlaceTree>,
    /// The node of exactly this position; none where the field is not set.
    node: Option<Node>,
    /// The nearest known place at or above.
    place: Option<Place>,
    sink: &'a Sink,
}

impl<'a> CompileContext<'a> {
    /// The top of a resource: `path` is what stands before the resource's own fields in every path.
    pub fn root(sink: &'a Sink, path: &'a str, tree: Option<&'a PlaceTree>) -> Self {
        let node = tree.map(PlaceTree::root);
        let place = tree.zip(node).map(|(tree, node)| tree.place(node));
        CompileContext { parent: None, step: Step::Root(path), tree, node, place, sink }
    }

    /// The top of a resource whose positions are gone: all that is known is where it begins.
    pub fn at(sink: &'a Sink, path: &'a str, place: Option<Place>) -> Self {
        CompileContext { parent: None, step: Step::Root(path), tree: None, node: None, place, sink }
    }

    /// A field, by its proto name.
    pub fn field<'b>(&'b self, name: &'b str) -> CompileContext<'b> {
        self.child(Step::Field(name), self.under(|tree, node| tree.child(node, key(name))))
    }

    /// An item of a list; stands behind [`field`](Self::field).
    pub fn index(&self, index: usize) -> CompileContext<'_> {
        self.child(Step::Index(index), self.under(|tree, node| tree.item(node, index)))
    }

    /// An item of a list field in one step: `cx.item("routes", 3)`.
    pub fn item<'b>(&'b self, name: &'b str, index: usize) -> CompileContext<'b> {
        let list = self.under(|tree, node| tree.child(node, key(name)));
        let item = self.tree.zip(list).and_then(|(tree, list)| tree.item(list, index));
        let mut child = self.child(Step::Item(name, index), item);
        if let (None, Some(tree), Some(list)) = (item, self.tree, list) {
            child.place = Some(tree.place(list));
        }
        child
    }

    /// The value of a map entry; stands behind [`field`](Self::field).
    pub fn key<'b>(&'b self, name: &'b str) -> CompileContext<'b> {
        self.child(Step::Key(name), self.under(|tree, node| tree.child(node, key(name))))
    }

    fn under(&self, find: impl FnOnce(&PlaceTree, Node) -> Option<Node>) -> Option<Node> {
        self.tree.zip(self.node).and_then(|(tree, node)| find(tree, node))
    }

    fn child<'b>(&'b self, step: Step<'b>, node: Option<Node>) -> CompileContext<'b> {
        let place = self.tree.zip(node).map(|(tree, node)| tree.place(node)).or(self.place);
        CompileContext { parent: Some(self), step, tree: self.tree, node, place, sink: self.sink }
    }

    /// The place of this field; of the nearest parent that is set where it is not.
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// The place of what these names lead to, fields or keys of maps one below the other; of the nearest one around it
    /// that is set where it is not.
    pub fn place_below<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<Place> {
        let (Some(tree), Some(mut node)) = (self.tree, self.node) else { return self.place };
        for name in names {
            match tree.child(node, key(name)) {
                Some(child) => node = child,
                None => break,
            }
        }
        Some(tree.place(node))
    }

    /// True where reading found an error at this field: it was set to something that cannot be read or is not built,
    /// so that nothing can be said of what depends on it.
    pub fn told_of(&self, field: &str) -> bool {
        let told = self.sink.told.borrow();
        !told.at.is_empty() && told.at.contains(&self.field(field).path())
    }

    /// True where the text sets this field to something that could not be read; the error is in the sink.
    pub(crate) fn broken(&self) -> bool {
        self.node.is_some_and(Node::broken)
    }

    /// The path from the root, for example `static_resources.listeners[0].name`.
    pub fn path(&self) -> String {
        let mut path = String::new();
        self.write_path(&mut path);
        path
    }

    fn write_path(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.write_path(out);
        }
        let dot = if out.is_empty() { "" } else { "." };
        // Writing to a string cannot fail.
        let _ = match self.step {
            Step::Root(path) => write!(out, "{path}"),
            Step::Field(name) => write!(out, "{dot}{name}"),
            Step::Index(index) => write!(out, "[{index}]"),
            Step::Item(name, index) => write!(out, "{dot}{name}[{index}]"),
            Step::Key(name) => write!(out, "[{name:?}]"),
        };
    }

    /// Whether an error was recorded anywhere in this load.
    pub fn has_errors(&self) -> bool {
        self.sink.has_errors()
    }

    /// How large regular expressions may be.
    pub fn regex_limits(&self) -> RegexLimits {
        self.sink.regex_limits.get()
    }

    /// Records an error at this position.
    pub fn error(&self, message: impl Into<String>) -> Reported {
        self.report(ErrorKind::Compile, message.into(), None);
        Reported
    }

    /// Records an error at this position about a name, with the one that may have been meant.
    pub fn error_near(&self, message: impl Into<String>, meant: Option<String>) -> Reported {
        self.report(ErrorKind::Compile, message.into(), meant);
        Reported
    }

    /// Records a warning at this position.
    pub fn warn(&self, message: impl Into<String>) {
        self.sink.warning(self.fault(ErrorKind::Compile, message.into(), None));
    }

    /// Records something that Envoy does and nuncio does not: an error, or a warning if the operator asked for that,
    /// and then the caller leaves the thing out.
    pub fn unsupported(&self, message: impl Into<String>) -> Reported {
        match self.sink.unsupported {
            Unsupported::Refuse => self.report(ErrorKind::Unbuilt, message.into(), None),
            Unsupported::Warn => {
                self.sink.warning(self.fault(ErrorKind::Unbuilt, message.into(), None));
            }
        }
        Reported
    }

    pub(crate) fn report(&self, kind: ErrorKind, message: String, hint: Option<String>) {
        let fault = self.fault(kind, message, hint);
        if !self.sink.told.borrow().covers(&fault.path) {
            self.sink.error(fault);
        }
    }

    pub(crate) fn fault(&self, kind: ErrorKind, message: String, hint: Option<String>) -> ConfigError {
        ConfigError { place: self.place, path: self.path(), message, hint, kind }
    }

    /// The sink that this load shares.
    pub fn sink(&self) -> &'a Sink {
        self.sink
    }

    /// The message in an `Any` at this position; `None`, with an error recorded, when it holds another type. The
    /// context stays the same: the content of an `Any` hangs below the field that holds it.
    pub fn unpack<M: Message + Name + Default>(&self, any: &Any) -> Option<M> {
        if type_name(&any.type_url) != M::full_name() {
            self.error(format!("expected {}, found '{}'", M::full_name(), any.type_url));
            return None;
        }
        self.decode(&any.value)
    }

    /// Decodes a message at this position; `None`, with an error recorded, when the bytes are none.
    pub fn decode<M: Message + Default>(&self, bytes: &[u8]) -> Option<M> {
        match M::decode(bytes) {
            Ok(message) => Some(message),
            Err(error) => {
                self.error(format!("cannot be decoded: {error}"));
                None
            }
        }
    }
}

impl fmt::Debug for CompileContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompileContext({})", self.path())
    }
}

/// The message name in a type URL: what stands after the last slash.
pub fn type_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

#[cfg(test)]
mod tests;
