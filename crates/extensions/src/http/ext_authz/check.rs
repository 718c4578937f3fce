//! What a gRPC service is asked (`envoy.service.auth.v3.CheckRequest`), and what its answers say.

use super::compile::{Body, Settings};
use super::service::{Allowed, Refusal, Verdict, any};
use core::header_value_option::HeaderAppendAction;
use nuncio_codec::head::Known;
use nuncio_core::address::Address;
use nuncio_core::stream_info::{CertificateInfo, Metadata};
use nuncio_downstream::filter::{Piece, Request};
use nuncio_proto::pb::envoy::config::core::v3 as core;
use nuncio_proto::pb::envoy::service::auth::v3 as pb;
use nuncio_proto::pb::envoy::r#type::v3::HttpStatus;
use nuncio_proto::pb::google::rpc::Status;
use pb::attribute_context::{HttpRequest, Peer, Request as Asked, TlsSession};
use std::collections::BTreeMap;

/// The question about a request; `piece` is what is there of its body where that is gathered.
pub(super) fn question(
    settings: &Settings,
    request: &Request<'_>,
    context_extensions: BTreeMap<String, String>,
    piece: Option<(&Piece, Body)>,
) -> pb::CheckRequest {
    let (head, info, told) = (&*request.head, &*request.info, &settings.told);
    let connection = &*info.connection;
    let tls = connection.tls();
    let theirs = tls.and_then(|tls| tls.peer_certificate());
    let service = head.headers.get("x-envoy-downstream-service-cluster").unwrap_or_default();
    let source = Peer {
        service: sanitized(service),
        certificate: match theirs {
            Some(certificate) if told.certificate => certificate.url_encoded_pem(),
            _ => String::new(),
        },
        ..peer(&connection.remote, theirs)
    };
    let destination = Peer {
        labels: told.labels.iter().cloned().collect(),
        ..peer(&connection.local, tls.and_then(|tls| tls.local.as_deref()))
    };
    let name = connection.server_name().filter(|_| tls.is_some());
    pb::CheckRequest {
        attributes: Some(pb::AttributeContext {
            source: Some(source),
            destination: Some(destination),
            request: Some(Asked {
                time: Some(info.start_wall.into()),
                http: Some(http_request(settings, request, piece)),
            }),
            context_extensions,
            metadata_context: Some(core::Metadata {
                filter_metadata: chosen(&told.metadata, info.dynamic_metadata()),
                typed_filter_metadata: match info.typed_metadata() {
                    Some(typed) => pick(&told.typed_metadata, typed),
                    None => BTreeMap::new(),
                },
            }),
            route_metadata_context: Some(core::Metadata {
                filter_metadata: chosen(&told.route_metadata, info.route_metadata.as_deref()),
                typed_filter_metadata: BTreeMap::new(),
            }),
            tls_session: told
                .tls_session
                .then(|| TlsSession { sni: name.map(str::to_owned).unwrap_or_default() }),
        }),
    }
}

fn chosen(namespaces: &[Box<str>], metadata: Option<&Metadata>) -> BTreeMap<String, prost_types::Struct> {
    metadata.map(|metadata| pick(namespaces, metadata)).unwrap_or_default()
}

fn pick<V: Clone>(namespaces: &[Box<str>], all: &BTreeMap<String, V>) -> BTreeMap<String, V> {
    namespaces
        .iter()
        .filter_map(|name| all.get_key_value(&**name))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// A peer is called by the first URI of its certificate, else its first DNS name, else its subject.
fn peer(address: &Address, certificate: Option<&CertificateInfo>) -> Peer {
    let principal = certificate.map(|certificate| {
        let names = certificate.uri_sans.first().or(certificate.dns_sans.first());
        names.unwrap_or(&certificate.subject).to_string()
    });
    Peer {
        address: Some(core::Address { address: Some(address_of(address)) }),
        principal: principal.unwrap_or_default(),
        ..Peer::default()
    }
}

fn address_of(address: &Address) -> core::address::Address {
    let (Some(ip), Some(port)) = (address.ip(), address.port()) else {
        return core::address::Address::Pipe(core::Pipe { path: address.to_string(), mode: 0 });
    };
    core::address::Address::SocketAddress(core::SocketAddress {
        address: ip.to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
        ..core::SocketAddress::default()
    })
}

fn http_request(settings: &Settings, request: &Request<'_>, piece: Option<(&Piece, Body)>) -> HttpRequest {
    let (head, info) = (&*request.head, &*request.info);
    let mut http = HttpRequest {
        id: info.random.to_string(),
        method: sanitized(head.method()),
        path: sanitized(head.path()),
        host: sanitized(head.authority()),
        scheme: sanitized(head.headers.get(Known::Scheme).unwrap_or_default()),
        size: i64::try_from(info.bytes_received).unwrap_or(i64::MAX),
        protocol: info.protocol.map(|version| version.as_str().to_owned()).unwrap_or_default(),
        ..HttpRequest::default()
    };
    let mut headers = shown_headers(settings, request);
    if let Some((piece, body)) = piece {
        let most = piece.data.len().min(body.most);
        let seen = piece.data.get(..most).unwrap_or_default();
        if body.as_bytes {
            http.raw_body = seen.to_vec();
        } else {
            http.body = sanitized(seen);
        }
        let partial: &[u8] = if piece.data.len() > body.most { b"true" } else { b"false" };
        headers.push(("x-envoy-auth-partial-body".to_owned(), partial));
    }
    if settings.told.raw_headers {
        let each = headers.into_iter().map(|(key, value)| core::HeaderValue {
            key,
            value: String::new(),
            raw_value: value.to_vec(),
        });
        http.header_map = Some(core::HeaderMap { headers: each.collect() });
        return http;
    }
    for (name, value) in headers {
        let all: &mut String = http.headers.entry(name).or_default();
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(&sanitized(value));
    }
    http
}

/// Headers that the service sees, pseudo headers first.
fn shown_headers<'a>(settings: &Settings, request: &'a Request<'_>) -> Vec<(String, &'a [u8])> {
    let shown = |name: &str| {
        (settings.allowed.is_empty() || any(&settings.allowed, name)) && !any(&settings.disallowed, name)
    };
    let all = request.head.headers.iter().map(|(name, value)| (sanitized(name.as_bytes()), value));
    let mut headers: Vec<_> = all.filter(|(name, _)| shown(name)).collect();
    headers.sort_by_key(|(name, _)| match &**name {
        ":authority" => 0,
        ":path" => 1,
        ":method" => 2,
        ":scheme" => 3,
        _ => 4,
    });
    headers
}

/// Text as protobuf wants it: bytes that are not UTF-8 are exclamation marks, as in Envoy.
fn sanitized(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| '!'));
    }
    out
}

/// What an answer means: status 0 lets the request go on, all else denies, or says that the service itself failed.
pub(super) fn verdict(settings: &Settings, answer: pb::CheckResponse) -> Verdict {
    use pb::check_response::HttpResponse;
    let pb::CheckResponse { status, dynamic_metadata, http_response } = answer;
    let Status { code } = status.unwrap_or_default();
    let metadata = dynamic_metadata.unwrap_or_default();
    if code == 0 {
        let ok = match http_response {
            Some(HttpResponse::OkResponse(ok)) => ok,
            _ => pb::OkHttpResponse::default(),
        };
        return Verdict::Ok(Box::new(Allowed { metadata, ..allowed(ok) }));
    }
    match http_response {
        Some(HttpResponse::ErrorResponse(error)) => {
            Verdict::Error(Some(refusal(settings, error, settings.status_on_error, metadata)))
        }
        Some(HttpResponse::DeniedResponse(denied)) => {
            Verdict::Denied(refusal(settings, denied, 403, metadata))
        }
        _ => Verdict::Denied(refusal(settings, pb::DeniedHttpResponse::default(), 403, metadata)),
    }
}

fn refusal(
    settings: &Settings,
    message: pb::DeniedHttpResponse,
    usual: u16,
    metadata: prost_types::Struct,
) -> Refusal {
    let pb::DeniedHttpResponse { status, headers, body } = message;
    let HttpStatus { code } = status.unwrap_or_default();
    let mut body = body.into_bytes();
    body.truncate(settings.most_denied_body);
    // As in Envoy those that are to be appended are lost.
    let headers = headers.into_iter().map(Header::of).filter(|header| header.append != Some(true));
    Refusal {
        status: u16::try_from(code).ok().filter(|status| *status != 0).unwrap_or(usual),
        headers: headers.map(|header| (header.name.into_string().into(), header.value)).collect(),
        body,
        metadata,
    }
}

/// A `HeaderValueOption` of an answer.
struct Header {
    name: Box<str>,
    value: Vec<u8>,
    append: Option<bool>,
    action: HeaderAppendAction,
}

impl Header {
    fn of(message: core::HeaderValueOption) -> Self {
        let core::HeaderValueOption { header, append, append_action, keep_empty_value: _ } = message;
        let core::HeaderValue { key, value, raw_value } = header.unwrap_or_default();
        Self {
            name: key.to_ascii_lowercase().into(),
            value: if value.is_empty() { raw_value } else { value.into_bytes() },
            append,
            action: append_action.try_into().unwrap_or(HeaderAppendAction::AppendIfExistsOrAdd),
        }
    }
}

fn allowed(message: pb::OkHttpResponse) -> Allowed {
    let pb::OkHttpResponse {
        headers,
        headers_to_remove,
        response_headers_to_add,
        query_parameters_to_set,
        query_parameters_to_remove,
    } = message;
    let mut allowed = Allowed::default();
    // Of those for the upstream Envoy does not look at `append_action`.
    for Header { name, value, append, action: _ } in headers.into_iter().map(Header::of) {
        match append {
            Some(true) => allowed.join.push((name, value)),
            _ => allowed.set.push((name, value)),
        }
    }
    let removed = headers_to_remove.into_iter().map(|name| name.to_ascii_lowercase());
    allowed.remove = removed.filter(|name| !name.starts_with(':') && name != "host").map(Box::from).collect();
    for Header { name, value, append, action } in response_headers_to_add.into_iter().map(Header::of) {
        let put = match append {
            Some(true) => HeaderAppendAction::AppendIfExistsOrAdd,
            Some(false) => HeaderAppendAction::OverwriteIfExistsOrAdd,
            None => action,
        };
        allowed.for_client.push((name, value, put));
    }
    let set = query_parameters_to_set.into_iter();
    allowed.query_set =
        set.map(|core::QueryParameter { key, value }| (key.into_bytes(), value.into_bytes())).collect();
    allowed.query_remove = query_parameters_to_remove.into_iter().map(String::into_bytes).collect();
    allowed
}

/// The labels of this process: the texts of that key of its node's metadata.
pub(super) fn labels(info: Option<&prost_types::Struct>, key: &str) -> Box<[(String, String)]> {
    use prost_types::value::Kind;
    let value = info.and_then(|metadata| metadata.fields.get(key)).and_then(|value| value.kind.as_ref());
    let Some(Kind::StructValue(labels)) = value else { return Box::default() };
    let text = |value: &prost_types::Value| match &value.kind {
        Some(Kind::StringValue(text)) => text.clone(),
        _ => String::new(),
    };
    labels.fields.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}
