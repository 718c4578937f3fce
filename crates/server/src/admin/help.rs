//! `/help`, the answer to unknown paths, and the home page: the table of endpoints, printed.

use super::Admin;
use super::request::{Request, Response};
use super::table::{ENDPOINTS, Endpoint, Method, Param, Shape};
use std::fmt::Write;

/// `/help`.
pub(super) fn help(_: &Admin, _: &Request) -> Response {
    Response::text(list())
}

/// What an unknown path gets: 404 with the list.
pub(super) fn not_found() -> Response {
    Response::error(404, format!("invalid path. {}", list()))
}

fn list() -> String {
    let mut out = String::from("admin commands are:\n");
    for e in ENDPOINTS.iter().filter(|e| e.listed) {
        let post = if e.method == Method::Post { " (POST)" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {}{post}: {}", e.path, e.help);
        for p in e.params {
            let _ = write!(out, "      {}: {}", p.name, p.help);
            if let Shape::OneOf(values) = p.shape {
                let _ = write!(out, "; One of ({})", values.join(", "));
            }
            out.push('\n');
        }
    }
    out
}

/// `/`: a page with a form for each endpoint.
pub(super) fn home(_: &Admin, _: &Request) -> Response {
    let mut out = String::from(HEAD);
    for (i, e) in ENDPOINTS.iter().filter(|e| e.listed && e.path != "/").enumerate() {
        row(&mut out, e, if i % 2 == 1 { " class='gray'" } else { "" });
    }
    out.push_str("</tbody>\n</table>\n</body>\n</html>\n");
    Response::html(out)
}

const HEAD: &str = "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n<title>Envoy Admin</title>\n\
<style>\nbody { font-family: sans-serif; }\ntable { border-collapse: collapse; }\n\
th, td { text-align: left; padding: 4px; }\n.gray { background-color: #ddd; }\n.option { text-align: right; }\n\
form { margin: 0; }\n</style>\n</head>\n<body>\n<table>\n\
<thead><tr><th>Command</th><th>Description</th></tr></thead>\n<tbody>\n";

/// One endpoint. A GET without parameters is a link; everything else a form.
fn row(out: &mut String, e: &Endpoint, class: &str) {
    let name = e.path.trim_start_matches('/');
    let method = if e.method == Method::Post { "post" } else { "get" };
    // Writing to a String cannot fail.
    let _ = if e.method == Method::Get && e.params.is_empty() {
        writeln!(out, "<tr{class}><td><a href='{name}'>{name}</a></td><td>{}</td></tr>", e.help)
    } else {
        writeln!(
            out,
            "<tr{class}><td><form action='{name}' method='{method}' id='{name}'><button>{name}</button></form>\
             </td><td>{}</td></tr>",
            e.help
        )
    };
    for p in e.params {
        let _ = writeln!(
            out,
            "<tr{class}><td class='option'>{}</td><td>{}</td></tr>",
            input(name, p),
            p.help.replace('<', "&lt;").replace('>', "&gt;")
        );
    }
}

fn input(form: &str, p: &Param) -> String {
    match p.shape {
        Shape::Flag => format!("<input type='checkbox' name='{}' form='{form}'>", p.name),
        Shape::Text => format!("<input type='text' name='{}' form='{form}'>", p.name),
        Shape::OneOf(values) => {
            let options: String =
                values.iter().map(|v| format!("<option value='{v}'>{v}</option>")).collect();
            format!("<select name='{}' form='{form}'>{options}</select>", p.name)
        }
    }
}
