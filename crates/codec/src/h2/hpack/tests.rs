use super::*;

fn name(field: &Field<'_>) -> String {
    let name = match field.known {
        Known::Other if field.facts.has(Facts::STATUS) => b":status",
        Known::Other => field.name(),
        known => known.as_str().as_bytes(),
    };
    name.escape_ascii().to_string()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, HpackError> {
    let mut fields = Vec::new();
    decoder.decode(block, |f| fields.push((name(&f), f.value().escape_ascii().to_string())))?;
    Ok(fields)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
}

#[test]
fn the_examples_of_the_specification_decode_with_and_without_huffman() {
    // RFC 7541 sections C.3 and C.4: three requests on one connection.
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let first = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::new(4096);
        assert_eq!(decode(&mut decoder, &hex(blocks[0])), Ok(pairs(&first)));
        let mut second = first.to_vec();
        second.push(("cache-control", "no-cache"));
        assert_eq!(decode(&mut decoder, &hex(blocks[1])), Ok(pairs(&second)));
        let third = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        assert_eq!(decode(&mut decoder, &hex(blocks[2])), Ok(pairs(&third)));
    }
}

#[test]
fn entries_leave_a_small_table_as_the_specification_shows() {
    // RFC 7541 section C.6: three responses with a table of 256 bytes.
    let blocks = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 \
         63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 \
         b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let mut decoder = Decoder::new(256);
    for (block, status) in blocks.iter().zip(["302", "307", "200"]) {
        let fields = decode(&mut decoder, &hex(block)).unwrap();
        assert_eq!(fields[0], (":status".to_string(), status.to_string()));
        assert!(fields.iter().any(|f| f.0 == "location" && f.1 == "https://www.example.com"), "{fields:?}");
        assert!(fields.iter().any(|f| f.0 == "cache-control" && f.1 == "private"));
    }
}

#[test]
fn what_is_no_block_is_refused_with_its_reason() {
    let rows: [(&str, HpackError); 12] = [
        ("80", HpackError::Index),
        ("be", HpackError::Index),
        ("ff", HpackError::Truncated),
        ("ffff ffff ffff ff", HpackError::Integer),
        ("40", HpackError::Truncated),
        ("00 01 61", HpackError::Truncated),
        ("00 05 61", HpackError::Truncated),
        ("00 01 61 81 ff ff", HpackError::Huffman),
        ("00 01 61 84 ffff ffff", HpackError::Huffman),
        ("00 01 61 81 00", HpackError::Huffman),
        ("3f e2 1f", HpackError::TableSize),
        ("82 20", HpackError::TableSize),
    ];
    for (block, error) in rows {
        assert_eq!(decode(&mut Decoder::new(4096), &hex(block)), Err(error), "{block}");
    }
}

#[test]
fn huffman_is_its_own_inverse_for_every_byte_and_length() {
    let all: Vec<u8> = (0..=255).collect();
    for len in 0..=all.len() {
        for text in [&all[..len], &all[all.len() - len..]] {
            let (mut coded, mut back) = (Vec::new(), Vec::new());
            huffman::encode(text, &mut coded);
            assert_eq!(coded.len(), huffman::encoded_len(text));
            huffman::decode(&coded, &mut back).unwrap();
            assert_eq!(back, text);
        }
    }
}

#[test]
fn facts_tell_names_and_values_that_no_message_may_have() {
    let rows: [(&[u8], &[u8], bool, bool); 9] = [
        (b"x-a", b"v", true, true),
        (b"X-A", b"v", false, true),
        (b"", b"v", false, true),
        (b"a b", b"v", false, true),
        (b":foo", b"v", false, true),
        (b"a", b"a\0b", true, false),
        (b"a", b"a\r\nb: c", true, false),
        (b"a", b" v", true, false),
        (b"a", b"a\tb\xff", true, true),
    ];
    for (name, value, name_good, value_good) in rows {
        let mut block = vec![0x40, name.len() as u8];
        block.extend_from_slice(name);
        block.push(value.len() as u8);
        block.extend_from_slice(value);
        // Once as a literal and once from the table.
        block.push(0xbe);
        let mut seen = 0;
        Decoder::new(4096)
            .decode(&block, |f| {
                assert_eq!(
                    (f.facts.has(Facts::NAME), f.facts.has(Facts::VALUE)),
                    (name_good, value_good),
                    "{}: {}",
                    name.escape_ascii(),
                    value.escape_ascii()
                );
                seen += 1;
            })
            .unwrap();
        assert_eq!(seen, 2);
    }
}

/// Encodes one list.
fn encode(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        if name == b":status" {
            encoder.status(std::str::from_utf8(value).unwrap().parse().unwrap(), &mut out);
            continue;
        }
        let known = Known::find(name);
        encoder.field(known, name, value, Sensitivity::of(known, name, value), &mut out);
    }
    out
}

#[test]
fn what_is_repeated_becomes_one_byte_and_secrets_never_enter_a_table() {
    let fields = [
        (":method", "GET"),
        (":path", "/a/path"),
        (":authority", "host.example"),
        ("x-custom", "some value"),
        ("x-request-id", "0123"),
        ("user-agent", "test/1.0"),
    ];
    let mut encoder = Encoder::new(4096);
    let first = encode(&mut encoder, &fields).len();
    let second = encode(&mut encoder, &fields).len();
    let third = encode(&mut encoder, &fields).len();
    assert_eq!(third, fields.len(), "{first} {second}");
    for secret in [("authorization", "Basic a-long-enough-secret"), ("cookie", "a=1")] {
        for _ in 0..3 {
            let block = encode(&mut encoder, &[secret]);
            assert_eq!(block[0] & 0xf0, 0x10);
            assert!(block.len() > secret.1.len());
        }
    }
}

#[test]
fn any_lists_through_any_table_sizes_come_out_as_they_went_in() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    let names = [
        ":method",
        ":path",
        ":authority",
        "x-a",
        "x-request-id",
        "accept",
        "cookie",
        "authorization",
        "date",
        "link",
    ];
    let long = "l".repeat(3000);
    let values = ["", "GET", "/", "1", "a value", "another, longer value; with=signs", long.as_str()];
    for _ in 0..60 {
        let wanted = [0, 100, 4096, 65536][next(4)];
        let (mut encoder, mut decoder) = (Encoder::new(wanted), Decoder::new(65536));
        // Both sides begin with the default.
        decoder.decode(&hex("3f e1 1f"), |_| ()).unwrap();
        for _ in 0..60 {
            if next(10) == 0 {
                encoder.set_peer_max([0, 64, 300, 4096, 65536][next(5)]);
            }
            let mut fields: Vec<(&str, &str)> = vec![(":status", ["200", "503", "418"][next(3)])];
            for _ in 0..next(12) {
                fields.push((names[next(names.len())], values[next(values.len())]));
            }
            let block = encode(&mut encoder, &fields);
            assert_eq!(decode(&mut decoder, &block), Ok(pairs(&fields)));
        }
    }
}
