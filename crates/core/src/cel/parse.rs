//! From text to the syntax tree (the grammar of the CEL specification). The depth of both is bounded, as in Envoy.

use super::ast::{Constant, Expr};
use super::lex::{Placed, Token, tokens};
use std::fmt;

/// How deep brackets may stand in brackets, and nodes in nodes.
const MOST_DEPTH: usize = 32;

/// How long an expression may be, in characters.
const MOST_CHARACTERS: usize = 100_000;

/// What is wrong with an expression's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("Syntax error: token recognition error at: '{0}'")]
    Token(String),
    #[error("Syntax error: mismatched input '{0}'{1}")]
    Mismatched(String, &'static str),
    #[error("Syntax error: extraneous input '{0}' expecting <EOF>")]
    Extraneous(String),
    #[error("reserved identifier: {0}")]
    Reserved(String),
    #[error("invalid {0} literal")]
    Number(&'static str),
    #[error("unsupported syntax '{0}'")]
    Optional(&'static str),
    #[error("message literals, such as of {0}, are not built")]
    Message(String),
    #[error("{0}")]
    Macro(&'static str),
}

/// Why an expression is refused, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    fault: Result<Fault, &'static str>,
    line: usize,
    column: usize,
    /// The line that the fault stands in.
    text: String,
}

impl SyntaxError {
    /// A fault at character number `at` of `text`.
    pub(super) fn at(text: &str, at: usize, fault: Fault) -> Self {
        let before: Vec<char> = text.chars().take(at).collect();
        let line = before.iter().filter(|c| **c == '\n').count();
        let column = before.iter().rev().take_while(|c| **c != '\n').count();
        let text = text.lines().nth(line).unwrap_or_default().to_owned();
        Self { fault: Ok(fault), line: line + 1, column: column + 1, text }
    }

    /// A fault of the whole.
    fn of_all(fault: &'static str) -> Self {
        Self { fault: Err(fault), line: 0, column: 0, text: String::new() }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Err(whole) => f.write_str(whole),
            Ok(fault) => {
                let dots = ".".repeat(self.column - 1);
                write!(f, "ERROR: <input>:{}:{}: {fault}", self.line, self.column)?;
                write!(f, "\n | {}\n | {dots}^", self.text)
            }
        }
    }
}

impl std::error::Error for SyntaxError {}

/// Names that no variable may have.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

type Parsed = Result<(Expr, usize), SyntaxError>;

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Expr, SyntaxError> {
    if text.chars().nth(MOST_CHARACTERS).is_some() {
        return Err(SyntaxError::of_all("expression is larger than codepoint limit 100000"));
    }
    let mut parser = Parser { text, tokens: tokens(text)?, next: 0, nested: 0 };
    let (expr, _) = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.fault(|written| Fault::Extraneous(written.to_owned()))),
    }
}

/// Each step gives the node and its depth, so that neither reading nor evaluating recurses without bound.
struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Placed<'t>>,
    next: usize,
    nested: usize,
}

impl<'t> Parser<'t> {
    fn placed(&self) -> Option<&Placed<'t>> {
        // The last token is the end, which nobody passes.
        self.tokens.get(self.next).or_else(|| self.tokens.last())
    }

    fn peek(&self) -> &Token<'t> {
        self.placed().map_or(&Token::End, |placed| &placed.token)
    }

    fn fault(&self, make: impl FnOnce(&str) -> Fault) -> SyntaxError {
        let (at, written) = self.placed().map_or((0, ""), |placed| (placed.at, placed.text));
        SyntaxError::at(self.text, at, make(written))
    }

    fn mismatched(&self, expecting: &'static str) -> SyntaxError {
        self.fault(|written| Fault::Mismatched(written.to_owned(), expecting))
    }

    /// Takes the sign, if it is the next token.
    fn takes(&mut self, sign: &str) -> bool {
        let taken = self.peek().is(sign);
        self.next += usize::from(taken);
        taken
    }

    /// Takes the sign, which has to be the next token.
    fn expects(&mut self, sign: &str, expecting: &'static str) -> Result<(), SyntaxError> {
        if self.takes(sign) { Ok(()) } else { Err(self.mismatched(expecting)) }
    }

    /// A node above others that are `below` deep.
    fn above(&self, below: usize, expr: Expr) -> Parsed {
        if below >= MOST_DEPTH {
            return Err(SyntaxError::of_all("Exceeded max recursion depth of 32 when parsing."));
        }
        Ok((expr, below + 1))
    }

    fn expression(&mut self) -> Parsed {
        self.nested += 1;
        if self.nested > MOST_DEPTH + 1 {
            return Err(SyntaxError::of_all("Expression recursion limit exceeded. limit: 32"));
        }
        let (condition, depth) = self.either()?;
        let done = if self.takes("?") {
            let (then, then_depth) = self.either()?;
            self.expects(":", " expecting ':'")?;
            let (otherwise, other_depth) = self.expression()?;
            let depth = depth.max(then_depth).max(other_depth);
            self.above(depth, Expr::call("_?_:_", vec![condition, then, otherwise]))
        } else {
            Ok((condition, depth))
        };
        self.nested -= 1;
        done
    }

    fn either(&mut self) -> Parsed {
        self.logical("||", "_||_", Self::both)
    }

    fn both(&mut self) -> Parsed {
        self.logical("&&", "_&&_", Self::relation)
    }

    /// Operands of `||` or `&&`: one call with all of them, so that long chains are not deep.
    fn logical(&mut self, sign: &str, function: &str, operand: fn(&mut Self) -> Parsed) -> Parsed {
        let (first, mut depth) = operand(self)?;
        let mut all = vec![first];
        while self.takes(sign) {
            let (next, next_depth) = operand(self)?;
            depth = depth.max(next_depth);
            all.push(next);
        }
        match (all.pop(), all.is_empty()) {
            (Some(only), true) => Ok((only, depth)),
            (last, _) => {
                all.extend(last);
                self.above(depth, Expr::call(function, all))
            }
        }
    }

    fn relation(&mut self) -> Parsed {
        let (mut left, mut depth) = self.sum()?;
        loop {
            let function = match self.peek() {
                Token::Sign("<") => "_<_",
                Token::Sign("<=") => "_<=_",
                Token::Sign(">") => "_>_",
                Token::Sign(">=") => "_>=_",
                Token::Sign("==") => "_==_",
                Token::Sign("!=") => "_!=_",
                Token::In => "@in",
                _ => return Ok((left, depth)),
            };
            self.next += 1;
            let (right, right_depth) = self.sum()?;
            (left, depth) = self.above(depth.max(right_depth), Expr::call(function, vec![left, right]))?;
        }
    }

    fn sum(&mut self) -> Parsed {
        self.operators(&[("+", "_+_"), ("-", "_-_")], Self::product)
    }

    fn product(&mut self) -> Parsed {
        self.operators(&[("*", "_*_"), ("/", "_/_"), ("%", "_%_")], Self::unary)
    }

    fn operators(&mut self, known: &[(&str, &str)], operand: fn(&mut Self) -> Parsed) -> Parsed {
        let (mut left, mut depth) = operand(self)?;
        while let Some((_, function)) = known.iter().find(|(sign, _)| self.peek().is(sign)) {
            self.next += 1;
            let (right, right_depth) = operand(self)?;
            (left, depth) = self.above(depth.max(right_depth), Expr::call(function, vec![left, right]))?;
        }
        Ok((left, depth))
    }

    /// Any number of `!`, or of `-`, of which two cancel each other out.
    fn unary(&mut self) -> Parsed {
        let mut signs = 0_usize;
        while self.takes("!") {
            signs += 1;
        }
        if signs > 0 {
            let (of, depth) = self.member()?;
            return if signs.is_multiple_of(2) {
                Ok((of, depth))
            } else {
                self.above(depth, Expr::call("!_", vec![of]))
            };
        }
        while self.takes("-") {
            signs += 1;
        }
        // The last sign belongs to a number: the smallest one has no counterpart to negate.
        let of_number = signs > 0 && matches!(self.peek(), Token::Int(_) | Token::Double(_));
        let (of, depth) = if of_number { self.member_of_negative()? } else { self.member()? };
        if (signs - usize::from(of_number)).is_multiple_of(2) {
            return Ok((of, depth));
        }
        self.above(depth, Expr::call("-_", vec![of]))
    }

    fn member_of_negative(&mut self) -> Parsed {
        let literal = self.number(true)?;
        self.members((Expr::Constant(literal), 1))
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.members(primary)
    }

    /// What follows a primary: fields, calls and indexes.
    fn members(&mut self, (mut of, mut depth): (Expr, usize)) -> Parsed {
        loop {
            if self.takes(".") {
                if self.takes("?") {
                    return Err(self.fault(|_| Fault::Optional(".?")));
                }
                let Token::Ident(field) = self.peek() else { return Err(self.mismatched("")) };
                let field = (*field).to_owned();
                self.next += 1;
                (of, depth) = if self.takes("(") {
                    let (args, args_depth) = self.list(")", " expecting ')'")?;
                    let called = called(Some(of), field, args);
                    self.above(depth.max(args_depth), called.map_err(|f| self.fault(|_| f))?)?
                } else {
                    self.above(depth, Expr::Select { of: Box::new(of), field, test: false })?
                };
            } else if self.takes("[") {
                if self.takes("?") {
                    return Err(self.fault(|_| Fault::Optional(".?")));
                }
                let (index, index_depth) = self.expression()?;
                self.expects("]", " expecting ']'")?;
                (of, depth) = self.above(depth.max(index_depth), Expr::call("_[_]", vec![of, index]))?;
            } else if matches!(self.peek(), Token::Sign("{")) && of.name().is_some() {
                return Err(self.fault(|_| Fault::Message(of.name().unwrap_or_default())));
            } else {
                return Ok((of, depth));
            }
        }
    }

    /// Expressions with commas between them, to the closing sign.
    fn list(&mut self, end: &str, expecting: &'static str) -> Result<(Vec<Expr>, usize), SyntaxError> {
        let (mut items, mut deepest) = (Vec::new(), 0);
        while !self.takes(end) {
            let (item, depth) = self.expression()?;
            deepest = deepest.max(depth);
            items.push(item);
            // A comma may stand behind the last item of a list, and nowhere else.
            if !self.takes(",") {
                self.expects(end, expecting)?;
                break;
            }
            if end == ")" && matches!(self.peek(), Token::Sign(")")) {
                return Err(self.mismatched(""));
            }
        }
        Ok((items, deepest))
    }

    fn map(&mut self) -> Parsed {
        let (mut entries, mut deepest) = (Vec::new(), 0);
        while !self.takes("}") {
            let (key, key_depth) = self.expression()?;
            self.expects(":", " expecting ':'")?;
            let (value, depth) = self.expression()?;
            deepest = deepest.max(depth).max(key_depth);
            entries.push((key, value));
            if !self.takes(",") {
                self.expects("}", " expecting '}'")?;
                break;
            }
        }
        self.above(deepest, Expr::Map(entries))
    }

    fn primary(&mut self) -> Parsed {
        // A leading dot says that the name is looked up from the root, where all names are anyway.
        let rooted = self.takes(".");
        let constant = match self.peek().clone() {
            Token::Ident(name) => return self.name(name),
            _ if rooted => return Err(self.mismatched("")),
            Token::Sign("(") => {
                self.next += 1;
                let inner = self.expression()?;
                self.expects(")", " expecting ')'")?;
                return Ok(inner);
            }
            Token::Sign("[") => {
                self.next += 1;
                let (items, depth) = self.list("]", " expecting {']', ','}")?;
                return self.above(depth, Expr::List(items));
            }
            Token::Sign("{") => {
                self.next += 1;
                return self.map();
            }
            Token::Int(_) | Token::Uint(_) | Token::Double(_) => self.number(false)?,
            Token::Text(text) => self.constant(Constant::Text(text.into_bytes().into())),
            Token::Bytes(bytes) => self.constant(Constant::Bytes(bytes.into())),
            Token::True => self.constant(Constant::Bool(true)),
            Token::False => self.constant(Constant::Bool(false)),
            Token::Null => self.constant(Constant::Null),
            Token::In | Token::Sign(_) | Token::End => {
                return Err(self.mismatched(" expecting an expression"));
            }
        };
        Ok((Expr::Constant(constant), 1))
    }

    fn constant(&mut self, constant: Constant) -> Constant {
        self.next += 1;
        constant
    }

    fn name(&mut self, name: &str) -> Parsed {
        if RESERVED.contains(&name) {
            return Err(self.fault(|_| Fault::Reserved(name.to_owned())));
        }
        self.next += 1;
        if !self.takes("(") {
            return Ok((Expr::Ident(name.to_owned()), 1));
        }
        let (args, depth) = self.list(")", " expecting ')'")?;
        let called = called(None, name.to_owned(), args).map_err(|f| self.fault(|_| f))?;
        self.above(depth, called)
    }

    /// The number that is the next token.
    fn number(&mut self, negative: bool) -> Result<Constant, SyntaxError> {
        let sign = if negative { "-" } else { "" };
        let digits = |text: &str| match text.strip_prefix("0x") {
            Some(hex) => (format!("{sign}{hex}"), 16),
            None => (format!("{sign}{text}"), 10),
        };
        let (constant, kind) = match self.peek() {
            Token::Int(text) => {
                let (text, radix) = digits(text);
                (i64::from_str_radix(&text, radix).ok().map(Constant::Int), "int")
            }
            Token::Uint(text) => {
                let (text, radix) = digits(text);
                (u64::from_str_radix(&text, radix).ok().map(Constant::Uint), "uint")
            }
            Token::Double(text) => (format!("{sign}{text}").parse().ok().map(Constant::Double), "double"),
            _ => (None, "number"),
        };
        let constant = constant.ok_or_else(|| self.fault(|_| Fault::Number(kind)))?;
        self.next += 1;
        Ok(constant)
    }
}

/// A call, or what the macro of that name makes of it.
fn called(target: Option<Expr>, function: String, mut args: Vec<Expr>) -> Result<Expr, Fault> {
    let loops = match (&target, function.as_str(), args.as_slice()) {
        (None, "has", [_]) => {
            return match args.pop() {
                Some(Expr::Select { of, field, test: false }) => Ok(Expr::Select { of, field, test: true }),
                _ => Err(Fault::Macro("has() argument must be a field selection")),
            };
        }
        (Some(_), "all" | "exists" | "exists_one" | "filter" | "map", [variable, _])
        | (Some(_), "map", [variable, _, _]) => Some(matches!(variable, Expr::Ident(_))),
        _ => None,
    };
    match loops {
        None => Ok(Expr::Call { target: target.map(Box::new), function, args }),
        Some(true) => Ok(Expr::Comprehension),
        Some(false) => Err(Fault::Macro("variable name must be a simple identifier")),
    }
}
