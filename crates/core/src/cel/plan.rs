//! From the syntax tree to what is evaluated: names are resolved, functions found, patterns compiled.

use super::Features;
use super::ast::{Constant, Expr};
use super::attribute::{self, Activation, Node as ThisNode, Read, Root};
use super::function::{self, Function};
use super::value::{Evaluated, Failed, List, Map, Value};
use crate::matcher::RegexSearch;
use std::borrow::Cow;

/// How large RE2's program for a pattern may be.
const MOST_PROGRAM: usize = 100;

/// How deep nodes may stand in nodes where messages bring them.
const MOST_DEPTH: usize = 100;

/// Why a well-formed expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A function that does not exist, or not with these arguments.
    #[error("No overload found in reference resolve step for {0}")]
    Function(String),
    /// Macros that go through lists are off in Envoy, too.
    #[error("Comprehension support is disabled")]
    Comprehension,
    /// A bad pattern.
    #[error("invalid regular expression: {0}")]
    Regex(String),
    /// A pattern whose program is too large.
    #[error("exceeded RE2 max program size")]
    RegexSize,
    /// A pattern that would have to be compiled for each request.
    #[error("a pattern that is not a literal is not built")]
    Pattern,
    /// An attribute that is known and not built.
    #[error("the attribute {0} is not built")]
    Attribute(String),
    /// Nodes stand too deep in nodes.
    #[error("the expression is nested too deeply")]
    Depth,
}

/// A node of an expression that can be evaluated.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Constant),
    /// An attribute, or one of the names that expressions begin with.
    Read(Read),
    /// The same of the response, which may not have come yet.
    OfResponse(Read),
    Type(&'static str),
    /// A name that stands for nothing.
    Unknown,
    Field(Box<Node>, Box<str>),
    Has(Box<Node>, Box<str>),
    Either(Box<[Node]>),
    Both(Box<[Node]>),
    Choice(Box<[Node; 3]>),
    List(Box<[Node]>),
    Map(Box<[(Node, Node)]>),
    Matches(Box<Node>, RegexSearch),
    Call(Function, Box<[Node]>),
}

/// Names of types.
const TYPES: [&str; 12] = [
    "bool",
    "bytes",
    "double",
    "google.protobuf.Duration",
    "google.protobuf.Timestamp",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];

/// Plans an expression.
pub(super) fn plan(expr: Expr, features: Features) -> Result<Node, PlanError> {
    Planner { features }.node(expr, MOST_DEPTH)
}

struct Planner {
    features: Features,
}

impl Planner {
    /// `depth`: how many nodes may still stand in each other.
    fn node(&self, expr: Expr, depth: usize) -> Result<Node, PlanError> {
        let depth = depth.checked_sub(1).ok_or(PlanError::Depth)?;
        Ok(match expr {
            Expr::Constant(constant) => Node::Constant(constant),
            Expr::Ident(name) => name_of(&name),
            Expr::Comprehension => return Err(PlanError::Comprehension),
            Expr::Select { of, field, test } => self.select(*of, field, test, depth)?,
            Expr::List(items) => Node::List(self.all(items, depth)?),
            Expr::Map(entries) => {
                let each = entries.into_iter().map(|(k, v)| Ok((self.node(k, depth)?, self.node(v, depth)?)));
                Node::Map(each.collect::<Result<_, PlanError>>()?)
            }
            Expr::Call { target, function, args } => self.call(target, &function, args, depth)?,
        })
    }

    fn all(&self, exprs: Vec<Expr>, depth: usize) -> Result<Box<[Node]>, PlanError> {
        exprs.into_iter().map(|expr| self.node(expr, depth)).collect()
    }

    fn select(&self, of: Expr, field: String, test: bool, depth: usize) -> Result<Node, PlanError> {
        let name = of.name().unwrap_or_default();
        let whole = format!("{name}.{field}");
        if field == "typed_filter_metadata" || (name == "xds.node" && !ThisNode::FIELDS.contains(&&*field)) {
            return Err(PlanError::Attribute(whole));
        }
        if let (Some(name), false) = (TYPES.iter().find(|name| **name == whole), test) {
            return Ok(Node::Type(name));
        }
        if let (Expr::Ident(root), false) = (&of, test)
            && let Some(read) = attribute_of(root, &field)
        {
            return Ok(reading(root, read));
        }
        let of = Box::new(self.node(of, depth)?);
        Ok(if test { Node::Has(of, field.into()) } else { Node::Field(of, field.into()) })
    }

    fn call(
        &self,
        target: Option<Box<Expr>>,
        function: &str,
        mut args: Vec<Expr>,
        depth: usize,
    ) -> Result<Node, PlanError> {
        let receiver = target.is_some();
        if let Some(target) = target {
            args.insert(0, *target);
        }
        match (function, args.as_slice()) {
            ("_||_", [_, _, ..]) => return Ok(Node::Either(self.all(args, depth)?)),
            ("_&&_", [_, _, ..]) => return Ok(Node::Both(self.all(args, depth)?)),
            ("_?_:_", [_, _, _]) => {
                let nodes: [Node; 3] =
                    self.all(args, depth)?.into_vec().try_into().map_err(|_| PlanError::Depth)?;
                return Ok(Node::Choice(Box::new(nodes)));
            }
            // `request["path"]` is `request.path`.
            ("_[_]", [Expr::Ident(root), Expr::Constant(Constant::Text(key))]) => {
                let read = std::str::from_utf8(key).ok().and_then(|key| attribute_of(root, key));
                if let Some(read) = read {
                    return Ok(reading(root, read));
                }
            }
            ("matches", [_, _]) => return self.matches(args, depth),
            _ => {}
        }
        let found = function::find(function, receiver, args.len(), self.features);
        let found = found.ok_or_else(|| PlanError::Function(function.to_owned()))?;
        Ok(Node::Call(found, self.all(args, depth)?))
    }

    fn matches(&self, mut args: Vec<Expr>, depth: usize) -> Result<Node, PlanError> {
        let Some(Expr::Constant(Constant::Text(pattern))) = args.pop() else {
            return Err(PlanError::Pattern);
        };
        let pattern = String::from_utf8_lossy(&pattern);
        let regex = RegexSearch::new(&pattern).map_err(|e| PlanError::Regex(e.to_string()))?;
        if regex.program_size() > MOST_PROGRAM {
            return Err(PlanError::RegexSize);
        }
        let subject = args.pop().ok_or(PlanError::Pattern)?;
        Ok(Node::Matches(Box::new(self.node(subject, depth)?), regex))
    }
}

fn name_of(name: &str) -> Node {
    if name == "xds" {
        attribute::want_virtual_host();
    }
    if let Some(read) = attribute::root(name) {
        return reading(name, read);
    }
    TYPES.iter().find(|known| **known == name).map_or(Node::Unknown, |name| Node::Type(name))
}

/// Reads what stands below `root`, or it.
fn reading(root: &str, read: Read) -> Node {
    if root == "response" { Node::OfResponse(read) } else { Node::Read(read) }
}

fn attribute_of(root: &str, name: &str) -> Option<Read> {
    if name.starts_with("virtual_host") {
        attribute::want_virtual_host();
    }
    attribute::find(Root::named(root)?, name)
}

impl Node {
    /// What the node comes to. Takes time in proportion to the expression, since nothing loops.
    pub(super) fn evaluate<'a>(&'a self, cx: &Activation<'a>) -> Evaluated<'a> {
        match self {
            Self::Constant(constant) => Ok(constant_value(constant)),
            Self::Read(read) => read(cx).ok_or(Failed),
            Self::OfResponse(read) => {
                cx.missed_response();
                read(cx).ok_or(Failed)
            }
            Self::Type(name) => Ok(Value::Type(name)),
            Self::Unknown => Err(Failed),
            Self::Field(of, name) => of.evaluate(cx)?.field(name),
            Self::Has(of, name) => of.evaluate(cx)?.has(name).map(Value::Bool),
            Self::Either(nodes) => decided(nodes, cx, true),
            Self::Both(nodes) => decided(nodes, cx, false),
            Self::Choice(nodes) => {
                let [condition, then, otherwise] = &**nodes;
                match condition.evaluate(cx)? {
                    Value::Bool(true) => then.evaluate(cx),
                    Value::Bool(false) => otherwise.evaluate(cx),
                    _ => Err(Failed),
                }
            }
            Self::List(nodes) => {
                let items = nodes.iter().map(|node| node.evaluate(cx)).collect::<Result<_, _>>()?;
                Ok(Value::List(List::Made(items)))
            }
            Self::Map(nodes) => map(nodes, cx),
            Self::Matches(subject, regex) => match subject.evaluate(cx)? {
                Value::Text(text) => Ok(Value::Bool(regex.is_match(&text))),
                _ => Err(Failed),
            },
            Self::Call(function, args) => match &**args {
                [one] => function(&[one.evaluate(cx)?]),
                [one, two] => function(&[one.evaluate(cx)?, two.evaluate(cx)?]),
                args => function(&args.iter().map(|arg| arg.evaluate(cx)).collect::<Result<Vec<_>, _>>()?),
            },
        }
    }
}

fn constant_value(constant: &Constant) -> Value<'_> {
    match constant {
        Constant::Null => Value::Null,
        Constant::Bool(b) => Value::Bool(*b),
        Constant::Int(n) => Value::Int(*n),
        Constant::Uint(n) => Value::Uint(*n),
        Constant::Double(n) => Value::Double(*n),
        Constant::Text(text) => Value::Text(Cow::Borrowed(text)),
        Constant::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
        Constant::Duration(nanos) => Value::Duration(*nanos),
        Constant::Timestamp(nanos) => Value::Timestamp(*nanos),
    }
}

/// One operand that is `wanted` decides, whatever the others are; else all have to be truth values.
fn decided<'a>(nodes: &'a [Node], cx: &Activation<'a>, wanted: bool) -> Evaluated<'a> {
    let mut failed = false;
    for node in nodes {
        match node.evaluate(cx) {
            Ok(Value::Bool(b)) if b == wanted => return Ok(Value::Bool(wanted)),
            Ok(Value::Bool(_)) => {}
            Ok(_) | Err(Failed) => failed = true,
        }
    }
    if failed { Err(Failed) } else { Ok(Value::Bool(!wanted)) }
}

/// A map whose keys are of the types that keys may have, each once.
fn map<'a>(nodes: &'a [(Node, Node)], cx: &Activation<'a>) -> Evaluated<'a> {
    let mut entries: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(nodes.len());
    for (key, value) in nodes {
        let (key, value) = (key.evaluate(cx)?, value.evaluate(cx)?);
        let is_key = matches!(key, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Text(_));
        if !is_key || entries.iter().any(|(k, _)| k.equals(&key) == Ok(true)) {
            return Err(Failed);
        }
        entries.push((key, value));
    }
    Ok(Value::Map(Map::Made(entries.into())))
}
