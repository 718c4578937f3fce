//! What an admin handler is asked, and what it answers.

use nuncio_downstream::hcm::answer::Body as Pieces;

/// A request to the admin port, taken apart.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method, as sent.
    pub method: String,
    /// The path without its query, percent-decoded.
    pub path: String,
    /// The parameters in their order, percent-decoded; a parameter without `=` has an empty value.
    pub query: Vec<(String, String)>,
    /// The `accept` header.
    pub accept: String,
    /// The body when it is a form, taken apart like the query.
    pub form: Vec<(String, String)>,
}

impl Request {
    /// Takes apart a request target (`/path?a=b`).
    pub fn new(method: &str, target: &str) -> Self {
        let target = target.split('#').next().unwrap_or(target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: method.to_owned(),
            path: percent_decode(path),
            query: parameters(query),
            accept: String::new(),
            form: Vec::new(),
        }
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether a parameter is there, whatever its value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The first value of a parameter, an empty one counting as none.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|v| !v.is_empty())
    }
}

/// Takes `a=b&c=d` apart.
pub(super) fn parameters(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|p| !p.is_empty())
        .map(|p| {
            let (name, value) = p.split_once('=').unwrap_or((p, ""));
            (percent_decode(name), percent_decode(value))
        })
        .collect()
}

/// Decodes `%XX`; what is not such a sequence stays, and bytes that are no UTF-8 are replaced.
fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let hex = |b: &u8| char::from(*b).to_digit(16);
        match (first, tail) {
            (b'%', [a, b, after @ ..]) if hex(a).is_some() && hex(b).is_some() => {
                let (a, b) = (hex(a).unwrap_or_default(), hex(b).unwrap_or_default());
                out.push((a * 16 + b) as u8);
                rest = after;
            }
            _ => out.push(first),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The answer to a request.
pub struct Response {
    /// The status.
    pub status: u16,
    /// `content-type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Body,
}

/// What an answer says.
pub enum Body {
    /// A text.
    Text(String),
    /// Pieces of a text that is long, or of bytes.
    Pieces(Pieces),
}

impl<T: Into<String>> From<T> for Body {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

impl Body {
    /// It, piece by piece.
    pub fn pieces(self) -> Pieces {
        match self {
            Self::Text(text) => Box::new(std::iter::once(text.into_bytes())),
            Self::Pieces(pieces) => pieces,
        }
    }
}

pub(super) const TEXT: &str = "text/plain; charset=UTF-8";
pub(super) const HTML: &str = "text/html; charset=UTF-8";
pub(super) const JSON: &str = "application/json";

impl Response {
    /// 200 with text.
    pub fn text(body: impl Into<Body>) -> Self {
        Self { status: 200, content_type: TEXT, body: body.into() }
    }

    /// 200 with a JSON text.
    pub fn json(body: impl Into<Body>) -> Self {
        Self { status: 200, content_type: JSON, body: body.into() }
    }

    /// 200 with a page.
    pub fn html(body: impl Into<Body>) -> Self {
        Self { status: 200, content_type: HTML, body: body.into() }
    }

    /// The answer of what was done.
    pub fn ok() -> Self {
        Self::text("OK\n")
    }

    /// An error with its text.
    pub fn error(status: u16, body: impl Into<Body>) -> Self {
        Self { status, content_type: TEXT, body: body.into() }
    }
}
