//! Requests as people paste them: the words of a `curl` command, or a file with a request as HTTP/1 writes it.

use nuncio_codec::head::RequestHead;
use nuncio_downstream::explain::Question;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Bytes of a request file, or of a body in one, at most.
const LARGEST: usize = 1 << 20;

/// A port that a client may have.
const CLIENT_PORT: u16 = 50_000;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    method: Option<String>,
    url: Option<Url>,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    http: Http,
    to: Option<SocketAddr>,
    from: Option<SocketAddr>,
    sni: Option<String>,
    head_only: bool,
}

/// Which protocol the client was told to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Http {
    /// HTTP/2 where TLS agrees on it.
    #[default]
    Default,
    /// `--http1.1`
    Http1,
    /// `--http2`: over TLS as by default, in clear text by an upgrade that nobody takes up.
    Http2,
    /// `--http2-prior-knowledge`
    PriorKnowledge,
}

/// A URL taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Url {
    tls: bool,
    /// With its port, where it is written.
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            other => return Err(format!("'{text}': the scheme {other} is none of http, https, ws and wss")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if authority.is_empty() {
            return Err(format!("'{text}' names no host"));
        }
        let usual = if tls { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| format!("'{text}': '{port}' is no port"))?)
            }
            _ => (authority, usual),
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        // As clients write it, without the scheme's own port.
        let written = if port == usual { host.to_owned() } else { authority.to_owned() };
        Ok(Self { tls, authority: written, host: host.to_owned(), port, path })
    }
}

/// Reads the words of a command line: one that is a file's name, one that is a whole command, or many.
pub(super) fn parse(words: &[String]) -> Result<Asked, String> {
    match words {
        [one] if one.contains(char::is_whitespace) => parse_words(&split(one)?, true),
        [one] if std::path::Path::new(one).is_file() => {
            let bytes = std::fs::read(one).map_err(|error| format!("cannot read '{one}': {error}"))?;
            if bytes.len() > LARGEST {
                return Err(format!("'{one}' is larger than {LARGEST} bytes"));
            }
            request_text(&bytes)
        }
        words => parse_words(words, true),
    }
}

/// Reads words that name no files.
pub(super) fn parse_inline(words: &[String]) -> Result<Asked, String> {
    parse_words(words, false)
}

/// Takes a line apart as a shell does: blanks divide, quotes and backslashes keep together.
pub(super) fn split(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (_, '\\') => match chars.next() {
                // A line that goes on.
                Some('\n') => {}
                Some(next) => word.get_or_insert_default().push(next),
                None => return Err("the request ends in a backslash".into()),
            },
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quotation mark is not closed".into());
    }
    words.extend(word);
    Ok(words)
}

fn parse_words(words: &[String], files: bool) -> Result<Asked, String> {
    let words = match words {
        [first, rest @ ..] if first == "curl" => rest,
        words => words,
    };
    let mut asked = Asked::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        // `-XPOST` and `--header=…` are written, too.
        let (option, glued) = match word.as_str() {
            long if long.starts_with("--") => match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            },
            short if short.starts_with('-') && short.len() > 2 => {
                let (name, value) = short.split_at_checked(2).unwrap_or_default();
                if "kisvLSfg".contains(name.trim_start_matches('-')) {
                    // Several in one: none of them changes the request.
                    if !short.chars().skip(1).all(|c| "kisvLSfgI".contains(c)) {
                        return Err(format!("the option {short} is not known here"));
                    }
                    asked.head_only |= short.contains('I');
                    continue;
                }
                (name, Some(value.to_owned()))
            }
            other => (other, None),
        };
        let mut value = |what: &str| {
            glued.clone().or_else(|| words.next().cloned()).ok_or_else(|| format!("{what} has no value"))
        };
        match option {
            "-X" | "--request" => asked.method = Some(value(option)?),
            "-H" | "--header" => asked.header(&value(option)?)?,
            "-A" | "--user-agent" => asked.headers.push(("user-agent".into(), value(option)?)),
            "-e" | "--referer" => asked.headers.push(("referer".into(), value(option)?)),
            "-b" | "--cookie" => asked.headers.push(("cookie".into(), value(option)?)),
            "-u" | "--user" => {
                let credentials = base64(value(option)?.as_bytes());
                asked.headers.push(("authorization".into(), format!("Basic {credentials}")));
            }
            "-d" | "--data" | "--data-raw" | "--data-binary" | "--data-ascii" => {
                asked.data(&value(option)?, files && option != "--data-raw")?;
            }
            "--json" => {
                asked.data(&value(option)?, files)?;
                asked.headers.push(("content-type".into(), "application/json".into()));
                asked.headers.push(("accept".into(), "application/json".into()));
            }
            "-I" | "--head" => asked.head_only = true,
            "--http1.1" => asked.http = Http::Http1,
            "--http2" => asked.http = Http::Http2,
            "--http2-prior-knowledge" => asked.http = Http::PriorKnowledge,
            "--resolve" => asked.to = Some(resolved(&value(option)?)?),
            "--connect-to" => asked.to = Some(connect_to(&value(option)?)?),
            "--from" => asked.from = Some(from(&value(option)?)?),
            "--sni" => asked.sni = Some(value(option)?.to_ascii_lowercase()),
            "-o" | "--output" | "-w" | "--write-out" | "-m" | "--max-time" | "--connect-timeout"
            | "--cacert" | "--cert" | "-E" | "--key" => {
                value(option)?;
            }
            "-k" | "--insecure" | "-i" | "--include" | "-s" | "--silent" | "-v" | "--verbose" | "-L"
            | "--location" | "-S" | "--show-error" | "-f" | "--fail" | "-g" | "--globoff"
            | "--compressed" | "-N" | "--no-buffer" | "--path-as-is" | "--fail-with-body" => {}
            option if option.starts_with('-') => {
                return Err(format!(
                    "the option {option} is not known here; docs/explain.md lists those that are"
                ));
            }
            url if asked.url.is_none() => asked.url = Some(Url::parse(url)?),
            second => return Err(format!("'{second}': one URL is explained at a time")),
        }
    }
    if asked.url.is_none() {
        return Err("the request has no URL".into());
    }
    Ok(asked)
}

/// A request as HTTP/1 writes it: a first line, headers, an empty line, a body. Lines may end in LF alone.
fn request_text(bytes: &[u8]) -> Result<Asked, String> {
    let cut = |mark: &[u8]| bytes.windows(mark.len()).position(|w| w == mark).map(|at| (at, at + mark.len()));
    let ends = [cut(b"\r\n\r\n"), cut(b"\n\n")];
    let (head_end, body_at) = ends.into_iter().flatten().min().unwrap_or((bytes.len(), bytes.len()));
    let head = String::from_utf8_lossy(bytes.get(..head_end).unwrap_or_default()).into_owned();
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    if first.starts_with("curl ") || first.starts_with("-") {
        return parse_words(&split(&String::from_utf8_lossy(bytes))?, true);
    }
    let [method, target, ..] = *first.split_whitespace().collect::<Vec<_>>() else {
        return Err(format!("'{first}' is no request line: METHOD TARGET HTTP/1.1"));
    };
    let mut asked = Asked { method: Some(method.to_owned()), ..Asked::default() };
    for line in lines.filter(|line| !line.is_empty()) {
        asked.header(line)?;
    }
    let at = asked.headers.iter().position(|(name, _)| name == "host");
    let host = at.map(|at| asked.headers.remove(at).1);
    asked.url = Some(match host {
        _ if target.contains("://") => Url::parse(target)?,
        Some(host) => Url { path: target.to_owned(), ..Url::parse(&format!("http://{host}"))? },
        None => return Err("the request has neither a host header nor a whole URL".into()),
    });
    let body = bytes.get(body_at..).unwrap_or_default();
    if !body.is_empty() {
        asked.body = Some(body.to_vec());
    }
    Ok(asked)
}

impl Asked {
    /// `Name: value`; `Name;` has an empty value.
    fn header(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, value.trim()),
            None => match text.strip_suffix(';') {
                Some(name) => (name, ""),
                None => return Err(format!("'{text}' is no header: NAME: VALUE")),
            },
        };
        self.headers.push((name.trim().to_ascii_lowercase(), value.to_owned()));
        Ok(())
    }

    /// A piece of a form; `@file` where files may be read.
    fn data(&mut self, text: &str, files: bool) -> Result<(), String> {
        let piece = match text.strip_prefix('@').filter(|_| files) {
            Some(file) => std::fs::read(file).map_err(|error| format!("cannot read '{file}': {error}"))?,
            None => text.as_bytes().to_vec(),
        };
        if piece.len() > LARGEST {
            return Err(format!("the body is larger than {LARGEST} bytes"));
        }
        match &mut self.body {
            Some(body) => body.extend([b"&", &*piece].concat()),
            None => self.body = Some(piece),
        }
        Ok(())
    }

    /// The question that is asked by it.
    pub(super) fn question(self, listener: Option<String>) -> Question {
        let Self { method, url, headers, body, http, to, from, sni, head_only } = self;
        let Url { tls, authority, host, port, path } = url.unwrap_or_default();
        let form = body.is_some() && !headers.iter().any(|(name, _)| name == "content-type");
        let length = body.as_ref().map(|body| ("content-length".to_owned(), body.len().to_string()));
        let method = method.unwrap_or_else(|| match (head_only, &body) {
            (true, _) => "HEAD".into(),
            (false, Some(_)) => "POST".into(),
            (false, None) => "GET".into(),
        });
        let named = headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.clone());
        let mut head = RequestHead::new();
        head.headers.append(":method", method.as_bytes());
        head.headers.append(":scheme", if tls { b"https" } else { b"http" });
        head.headers.append(":authority", named.as_ref().unwrap_or(&authority).as_bytes());
        if method != "CONNECT" {
            head.headers.append(":path", path.as_bytes());
        }
        let usual = [("user-agent", "curl/8.5.0"), ("accept", "*/*")];
        let missing = usual.into_iter().filter(|(name, _)| !headers.iter().any(|(own, _)| own == name));
        let missing: Vec<(String, String)> = missing.map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let form = form.then(|| ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
        let own = headers.into_iter().filter(|(name, _)| name != "host");
        for (name, value) in missing.into_iter().chain(own).chain(length).chain(form) {
            head.headers.append(&*name, value.as_bytes());
        }
        let is_ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let sni = sni.or_else(|| (tls && is_ip.is_err()).then(|| host.to_ascii_lowercase()));
        let to = to.or_else(|| is_ip.ok().map(|ip| SocketAddr::new(ip, port)));
        Question {
            // `from` may be a name's owner alone: the listener is found by where the URL leads.
            to: if listener.is_some() { None } else { to },
            listener,
            from: from.unwrap_or_else(|| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), CLIENT_PORT)),
            port,
            tls,
            sni,
            alpn: match http {
                Http::Http1 => vec!["http/1.1"],
                Http::Default | Http::Http2 => vec!["h2", "http/1.1"],
                Http::PriorKnowledge => vec!["h2"],
            },
            prior_knowledge: http == Http::PriorKnowledge,
            head,
            body,
        }
    }
}

/// `HOST:PORT:ADDRESS` of `--resolve`.
fn resolved(text: &str) -> Result<SocketAddr, String> {
    let mistake = || format!("--resolve '{text}' is not HOST:PORT:ADDRESS");
    let (_, rest) = text.split_once(':').ok_or_else(mistake)?;
    let (port, address) = rest.split_once(':').ok_or_else(mistake)?;
    let ip = address.trim_matches(['[', ']']).parse().map_err(|_| mistake())?;
    Ok(SocketAddr::new(ip, port.parse().map_err(|_| mistake())?))
}

/// `HOST1:PORT1:ADDRESS:PORT2` of `--connect-to`.
fn connect_to(text: &str) -> Result<SocketAddr, String> {
    let mistake = || format!("--connect-to '{text}' is not HOST:PORT:ADDRESS:PORT with an IP address");
    let mut parts = text.splitn(3, ':');
    let (Some(_), Some(_), Some(address)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(mistake());
    };
    address.parse().map_err(|_| mistake())
}

/// `IP[:PORT]` of `--from`.
fn from(text: &str) -> Result<SocketAddr, String> {
    let ip = text.trim_matches(['[', ']']).parse::<IpAddr>();
    let alone = ip.map(|ip| SocketAddr::new(ip, CLIENT_PORT));
    text.parse().or(alone).map_err(|_| format!("--from '{text}' is not IP[:PORT]"))
}

/// Base 64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let number = (0..3).fold(0_u32, |n, i| n << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let six = (number >> (18 - 6 * i) & 63) as usize;
            let letter = ALPHABET.get(six).copied().unwrap_or(b'=');
            out.push(char::from(if i <= chunk.len() { letter } else { b'=' }));
        }
    }
    out
}

#[cfg(test)]
mod tests;
