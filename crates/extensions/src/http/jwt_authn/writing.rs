//! What a token says, written where those behind the filter look for it.

use super::compile::{MetadataNames, Provider};
use super::failure::Failure;
use super::token::Token;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nuncio_codec::head::RequestHead;
use nuncio_core::format::write_json_value;
use nuncio_core::stream_info::StreamInfo;
use nuncio_downstream::filter::Request;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

/// The namespace of the filter's dynamic metadata.
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";

/// Takes away headers that a provider's tokens become: nobody else may set them.
pub(super) fn clean(provider: &Provider, head: &mut RequestHead) {
    let of_claims = provider.claims.iter().map(|claim| &claim.header);
    for name in of_claims.chain(provider.payload_header.as_ref().map(|(name, _)| name)) {
        head.headers.remove(&**name);
    }
}

/// Headers and metadata of a token that holds. The name of a header whose value can be none, if there is one.
pub(super) fn forward(provider: &Provider, token: &Token, request: &mut Request<'_>) -> Option<Box<str>> {
    let headers = &mut request.head.headers;
    if let Some((name, padded)) = &provider.payload_header {
        let mut text = token.payload_text.to_string();
        while *padded && !text.len().is_multiple_of(4) {
            text.push('=');
        }
        headers.append(&**name, text.as_bytes());
    }
    let mut invalid = None;
    let mut told = false;
    for claim in &provider.claims {
        let Some(text) = find(&token.payload, &claim.path).and_then(header_value) else { continue };
        told = true;
        if text.bytes().any(|b| matches!(b, b'\0' | b'\r' | b'\n')) {
            invalid = Some(claim.header.clone());
        } else {
            headers.append(&*claim.header, text.as_bytes());
        }
    }
    let MetadataNames { payload, header, failure: _ } = &provider.metadata;
    if !header.is_empty() {
        tell(header.clone(), token.header.clone(), request.info);
    }
    if !payload.is_empty() {
        told = true;
        tell(payload.clone(), normalised(&token.payload, &provider.space_delimited), request.info);
    }
    *request.reroute |= told && provider.clears_route;
    invalid
}

/// Says which failure a token had.
pub(super) fn failed(name: String, failure: Failure, info: &mut StreamInfo) {
    let code = Kind::NumberValue(f64::from(failure as u8));
    let message = Kind::StringValue(failure.text().to_owned());
    let fields = [("code", code), ("message", message)];
    let fields = fields.into_iter().map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
    tell(name, Struct { fields: fields.collect() }, info);
}

fn tell(name: String, object: Struct, info: &mut StreamInfo) {
    let value = Value { kind: Some(Kind::StructValue(object)) };
    info.set_dynamic_metadata(NAMESPACE, Struct { fields: [(name, value)].into_iter().collect() });
}

/// The claim at the end of a path of names.
fn find<'p>(payload: &'p Struct, path: &[String]) -> Option<&'p Kind> {
    let (last, above) = path.split_last()?;
    let mut object = payload;
    for name in above {
        let Some(Kind::StructValue(inner)) = &object.fields.get(name)?.kind else { return None };
        object = inner;
    }
    object.fields.get(last)?.kind.as_ref()
}

/// What a claim is in a header: objects and lists as base64 of their JSON. `None`: it has nothing to say.
fn header_value(claim: &Kind) -> Option<String> {
    let text = match claim {
        Kind::NullValue(_) => return None,
        Kind::StringValue(text) => text.clone(),
        Kind::BoolValue(value) => value.to_string(),
        // As in Envoy: what is no unsigned integer has six digits behind the point.
        Kind::NumberValue(n) if *n >= 0.0 && *n < u64::MAX as f64 && n.fract() == 0.0 => {
            (*n as u64).to_string()
        }
        Kind::NumberValue(n) => format!("{n:.6}"),
        Kind::StructValue(_) | Kind::ListValue(_) => {
            let mut json = Vec::new();
            write_json_value(Some(claim), &mut json);
            STANDARD.encode(json)
        }
    };
    (!text.is_empty()).then_some(text)
}

/// The payload with these claims as lists of their words.
fn normalised(payload: &Struct, claims: &[String]) -> Struct {
    let mut payload = payload.clone();
    for name in claims {
        let Some(value) = payload.fields.get_mut(name) else { continue };
        if let Some(Kind::StringValue(text)) = &value.kind {
            let words = text.split(' ').filter(|word| !word.is_empty());
            let values: Vec<Value> =
                words.map(|word| Value { kind: Some(Kind::StringValue(word.to_owned())) }).collect();
            // A text without words stays one.
            if !values.is_empty() {
                value.kind = Some(Kind::ListValue(ListValue { values }));
            }
        }
    }
    payload
}
