//! An expression as it is written: what the parser reads from text and messages bring ready-made.

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<[u8]>),
    Bytes(Box<[u8]>),
    /// Nanoseconds.
    Duration(i128),
    /// Nanoseconds since 1970.
    Timestamp(i128),
}

/// A node of the syntax tree. Operators are calls under CEL's names for them, such as `_+_`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Constant(Constant),
    Ident(String),
    /// `of.field`; `test`: `has(of.field)`.
    Select {
        of: Box<Expr>,
        field: String,
        test: bool,
    },
    Call {
        target: Option<Box<Expr>>,
        function: String,
        args: Vec<Expr>,
    },
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    /// `all`, `exists`, `exists_one`, `filter` or `map` over a range.
    Comprehension,
}

impl Expr {
    pub(super) fn call(function: &str, args: Vec<Expr>) -> Self {
        Self::Call { target: None, function: function.to_owned(), args }
    }

    /// The dotted name that the node is, if it is one.
    pub(super) fn name(&self) -> Option<String> {
        match self {
            Self::Ident(name) => Some(name.clone()),
            Self::Select { of, field, test: false } => Some(format!("{}.{field}", of.name()?)),
            _ => None,
        }
    }
}
