//! `/certs`: the certificates of every TLS context.

use super::json::pretty;
use super::request::{Request, Response};
use super::{Admin, object};
use nuncio_core::civil::Civil;
use nuncio_net::tls::{Shown, ShownCertificate};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// `/certs`
pub(super) fn certs(admin: &Admin, _: &Request) -> Response {
    let now = admin.clock.wall();
    let contexts: Vec<Value> = admin.tls.shown().iter().map(|shown| context(shown, now)).collect();
    let text = pretty(&json!({ "certificates": contexts }));
    // As protobuf writes JSON.
    Response::json(text.replace('<', "\\u003c").replace('>', "\\u003e"))
}

fn context(Shown { own, authorities }: &Shown, now: SystemTime) -> Value {
    let list = |all: &[ShownCertificate]| all.iter().map(|c| certificate(c, now)).collect::<Vec<_>>();
    json!({ "ca_cert": list(authorities), "cert_chain": list(own) })
}

fn certificate(shown: &ShownCertificate, now: SystemTime) -> Value {
    let ShownCertificate { info, source, ocsp, label: _ } = shown;
    let names = |kind: &'static str, sans: &[Box<str>]| {
        sans.iter().map(|san| json!({ kind: &**san })).collect::<Vec<_>>()
    };
    let sans = [("dns", &info.dns_sans), ("uri", &info.uri_sans), ("ip_address", &info.ip_sans)];
    let sans: Vec<Value> = sans.into_iter().flat_map(|(kind, sans)| names(kind, sans)).collect();
    let ocsp = ocsp.map(|times| {
        let until = times.until.map(|t| rfc3339(t).into());
        object([("valid_from", Some(rfc3339(times.from).into())), ("expiration", until)])
    });
    object([
        ("path", Some((&*source.0).into())),
        ("serial_number", Some((&*info.serial).into())),
        ("subject_alt_names", Some(sans.into())),
        ("days_until_expiration", Some(days_until(info.not_after, now).to_string().into())),
        ("valid_from", info.not_before.map(|t| rfc3339(t).into())),
        ("expiration_time", info.not_after.map(|t| rfc3339(t).into())),
        ("ocsp_details", ocsp),
    ])
}

/// To the second, in UTC (RFC 3339).
fn rfc3339(time: SystemTime) -> String {
    let Civil { year, month, day, hour, minute, second, .. } = Civil::of(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Whole days; none are left where it is over.
pub(crate) fn days_until(end: Option<SystemTime>, now: SystemTime) -> u64 {
    const DAY: u64 = Duration::from_secs(24 * 3600).as_secs();
    end.and_then(|end| end.duration_since(now).ok()).map_or(0, |left| left.as_secs() / DAY)
}
