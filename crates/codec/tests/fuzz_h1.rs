//! A short run of the HTTP/1 fuzz targets on the stable toolchain: seeds, and what a fixed sequence of mutations makes
//! of them.

#[path = "../../../fuzz/h1.rs"]
#[allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the body of a test: a failure is the finding"
)]
mod h1;

/// Messages of both sides, whole and odd.
const SEEDS: &[&[u8]] = &[
    b"GET /a?b HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
    b"GET http://u@h:81/p HTTP/1.0\r\nConnection: keep-alive, x-a\r\nX-A: 1\r\n 2\r\nX_b:\t3 \r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\nearly",
    b"GET /ws HTTP/1.1\nHost: h\nConnection: Upgrade\nUpgrade: websocket\n\nbytes",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nokHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.0 200\r\n\r\nuntil the end",
    b"5\r\nhello\r\nA;e\r\n0123456789\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nbytes",
];

/// Pieces that matter to the grammar.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"\0",
    b"0",
    b"chunked",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"\r\n\r\n",
    b"ffffffffffffffff",
    b",",
    b"\xff",
];

fn smoke(target: fn(&[u8])) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit.max(1)
    };
    for _ in 0..1500 {
        let mut data: Vec<u8> = (0..4).map(|_| next(256) as u8).collect();
        data.extend_from_slice(SEEDS.get(next(SEEDS.len())).copied().unwrap_or_default());
        for _ in 0..next(5) {
            let at = 4 + next(data.len() - 4);
            match next(4) {
                0 => data.iter_mut().skip(at).take(1).for_each(|byte| *byte = next(256) as u8),
                1 => drop(data.remove(at)),
                2 => {
                    let token = TOKENS.get(next(TOKENS.len())).copied().unwrap_or_default();
                    drop(data.splice(at..at, token.iter().copied()));
                }
                _ => data.truncate(at),
            }
            if data.len() < 6 {
                break;
            }
        }
        target(&data);
    }
}

#[test]
fn request_heads() {
    smoke(h1::request_head);
}

#[test]
fn response_heads() {
    smoke(h1::response_head);
}

#[test]
fn chunked_bodies() {
    smoke(h1::chunked);
}

#[test]
fn downstream_connections() {
    smoke(h1::server_conn);
}

#[test]
fn upstream_connections() {
    smoke(h1::client_conn);
}
