//! Rust names for protobuf names, as prost makes them.

use heck::{ToSnakeCase, ToUpperCamelCase};

/// `connect_timeout` → `connectTimeout`, by protoc's rule: an underscore goes and the next letter is raised.
pub fn json(name: &str) -> String {
    let mut out = String::new();
    let mut raise = false;
    for c in name.chars() {
        if c == '_' {
            raise = true;
        } else {
            out.push(if raise { c.to_ascii_uppercase() } else { c });
            raise = false;
        }
    }
    out
}

/// A field or module name.
pub fn snake(name: &str) -> String {
    escape(name.to_snake_case())
}

/// A type or variant name.
pub fn camel(name: &str) -> String {
    escape(name.to_upper_camel_case())
}

/// The variant of an enum value, without the enum's own name in front where a name remains.
pub fn variant(enumeration: &str, value: &str) -> String {
    let (prefix, name) = (enumeration.to_upper_camel_case(), value.to_upper_camel_case());
    match name.strip_prefix(&prefix) {
        Some(rest) if rest.starts_with(|c: char| c.is_uppercase()) => escape(rest.to_owned()),
        _ => escape(name),
    }
}

/// The module path of a package and the nesting messages: `crate::pb::envoy::r#type::v3::outer`.
pub fn module(package: &str, nesting: &[&str]) -> Vec<String> {
    package.split('.').map(snake).chain(nesting.iter().map(|message| snake(message))).collect()
}

/// The names after the package: `Outer`, `Inner`.
pub fn local<'a>(package: &str, full: &'a str) -> Vec<&'a str> {
    full.get(package.len() + 1..).unwrap_or(full).split('.').collect()
}

fn escape(name: String) -> String {
    const WORDS: &[&str] = &[
        "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
        "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
        "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "static",
        "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where",
        "while", "yield",
    ];
    match name.as_str() {
        "self" | "super" | "crate" | "Self" => name + "_",
        word if WORDS.contains(&word) => format!("r#{name}"),
        word if word.starts_with(|c: char| c.is_ascii_digit()) => format!("_{name}"),
        _ => name,
    }
}
