//! Wire bytes, written.

use crate::schema::{Field, Kind};

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

pub(crate) fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A signed number as a plain varint; zero, the default, is left out.
pub(super) fn put_int(out: &mut Vec<u8>, number: u32, value: i64) {
    if value != 0 {
        put_tag(out, number, 0);
        put_varint(out, value.cast_unsigned());
    }
}

/// Puts the length of everything from `start` on in front of it.
pub(super) fn insert_length(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    let mut prefix = Vec::with_capacity(5);
    put_varint(&mut prefix, len as u64);
    if let ([byte], true) = (prefix.as_slice(), len < 128) {
        out.insert(start, *byte);
    } else {
        out.splice(start..start, prefix);
    }
}

/// The default value of a list item.
pub(super) fn put_empty(out: &mut Vec<u8>, field: Field) {
    let (wire_type, zeros): (u8, &[u8]) = match field.kind() {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => (1, &[0; 8]),
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => (5, &[0; 4]),
        Kind::String | Kind::Bytes | Kind::Message => (2, &[0]),
        _ => (0, &[0]),
    };
    put_tag(out, field.number(), wire_type);
    out.extend_from_slice(zeros);
}
