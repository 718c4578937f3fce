//! Responses as a scripted upstream gave them to Envoy 1.40.0, and what its client received, and whether the upstream
//! connection was used again.

use Want::{Bad, Differs, Good};

use super::*;

/// What Envoy made of it.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// A response with this status and body; whether the connection was used again.
    Good(u16, &'static [u8], bool),
    /// A protocol error, before or after the head.
    Bad,
    /// Envoy took it; it is refused here, for this reason.
    Differs(&'static str),
}

/// Name, method, what the upstream sent, whether it closed then, and what came of it.
struct Row(&'static str, &'static str, &'static [u8], bool, Want);

#[test]
fn responses_fare_as_with_envoy() {
    let options = ClientOptions::default();
    let mut wrong = String::new();
    for Row(name, method, input, eof, want) in ROWS {
        let see = |pieces: &[usize]| answer(&options, method.as_bytes(), input, pieces, *eof);
        let got = see(&[input.len()]);
        // Whether what is left over came with the response or after it is no property of the response.
        let content = |seen: &str| seen.trim_end_matches("|reuse").trim_end_matches("|done").to_string();
        under_all_splits(name, input, |pieces| content(&see(pieces)));
        let right = match want {
            Good(status, body, reused) => {
                let final_head =
                    got.starts_with(&format!("{status} ")) || got.contains(&format!(" {status} "));
                let end = if *reused { format!("{}|reuse", text(body)) } else { text(body) };
                final_head && !got.contains('!') && got.contains(&end) && got.ends_with("|reuse") == *reused
            }
            Bad => got.contains('!'),
            Differs(reason) => got.contains('!') && !reason.is_empty(),
        };
        if !right {
            wrong.push_str(&format!("{name}: {}\n  want {want:?}\n  got  {got}\n", text(input)));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_tunnel_is_bytes_behind_the_head() {
    let options = ClientOptions::default();
    let upgraded = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbytes";
    under_all_splits("101", upgraded, |pieces| answer(&options, b"UPGRADE", upgraded, pieces, false));
    let got = answer(&options, b"UPGRADE", upgraded, &[], false);
    assert_eq!(got, "101 connection: Upgrade; upgrade: websocket; bytes|tunnel");
    for head in ["", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"] {
        let input = format!("HTTP/1.1 200 OK\r\n{head}\r\n3\r\nabc");
        let got = answer(&options, b"CONNECT", input.as_bytes(), &[], true);
        assert!(got.ends_with("3\\r\\nabc|end|done"), "{got}");
    }
    let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(answer(&options, b"CONNECT", refused, &[], false), "403 content-length: 3; abc|reuse");
    let without = b"HTTP/1.1 101 Switching\r\n\r\nabc";
    assert_eq!(answer(&options, b"UPGRADE", without, &[], false), "101 |done");
    let framed =
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(answer(&options, b"UPGRADE", framed, &[], false), "!http1.content_length_not_allowed");
}

#[test]
fn trailers_are_events_where_they_are_enabled() {
    let enabled = ClientOptions { enable_trailers: true, ..ClientOptions::default() };
    let input = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n";
    under_all_splits("trailers", input, |pieces| answer(&enabled, b"GET", input, pieces, false));
    let got = answer(&enabled, b"GET", input, &[], false);
    assert_eq!(got, "200 transfer-encoding: chunked; ok+x-t: 1|reuse");
    let got = answer(&ClientOptions::default(), b"GET", input, &[], false);
    assert_eq!(got, "200 transfer-encoding: chunked; ok|reuse");
}

#[test]
fn bytes_without_a_request_are_an_error() {
    let mut codec = ClientCodec::new();
    let (mut head, mut trailers) = (ResponseHead::new(200), HeaderMap::new());
    let got = codec.decode(&ClientOptions::default(), b"HTTP/1.1 200 OK\r\n\r\n", &mut head, &mut trailers);
    assert_eq!(got, Err(ResponseError::Unsolicited));
    assert!(codec.poisoned() && !codec.reusable());
}

const ROWS: &[Row] = &[
    Row("line_std", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("line_noreason", "GET", b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("line_noreason_sp", "GET", b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("line_2sp", "GET", b"HTTP/1.1  200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("line_tab", "GET", b"HTTP/1.1\t200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("line_lead_sp", "GET", b" HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_10", "GET", b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", false)),
    Row("line_12", "GET", b"HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", false)),
    Row("line_20", "GET", b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", false)),
    Row("line_2", "GET", b"HTTP/2 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_11x", "GET", b"HTTP/1.10 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_lower", "GET", b"http/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_Http", "GET", b"Http/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_2digit", "GET", b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_4digit", "GET", b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok", false, Differs("RFC 9112 section 4: a status has three digits")),
    Row("line_099", "GET", b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_000", "GET", b"HTTP/1.1 000 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_999", "GET", b"HTTP/1.1 999 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(999, b"ok", true)),
    Row("line_600", "GET", b"HTTP/1.1 600 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(600, b"ok", true)),
    Row("line_1000", "GET", b"HTTP/1.1 1000 OK\r\ncontent-length: 2\r\n\r\nok", false, Differs("RFC 9112 section 4: a status has three digits")),
    Row("line_neg", "GET", b"HTTP/1.1 -20 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_plus", "GET", b"HTTP/1.1 +20 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_alpha", "GET", b"HTTP/1.1 2x0 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_nostatus", "GET", b"HTTP/1.1\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_nostatus2", "GET", b"HTTP/1.1 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_cr_reason", "GET", b"HTTP/1.1 200 O\rK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("line_nul_reason", "GET", b"HTTP/1.1 200 O\x00K\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_ctl_reason", "GET", b"HTTP/1.1 200 O\x01K\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_high_reason", "GET", b"HTTP/1.1 200 caf\xc3\xa9\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("line_glued", "GET", b"HTTP/1.1 200OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_tabreason", "GET", b"HTTP/1.1 200\tOK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("line_http_only", "GET", b"HTTP/\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_H_garbage", "GET", b"Hello world\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_icy", "GET", b"ICY 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("line_lead_crlf", "GET", b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("lf", "GET", b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok", false, Good(200, b"ok", true)),
    Row("h_fold", "GET", b"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_badname", "GET", b"HTTP/1.1 200 OK\r\nX(A: 1\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("h_wsname", "GET", b"HTTP/1.1 200 OK\r\nX-A : 1\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("h_nocolon", "GET", b"HTTP/1.1 200 OK\r\nXA\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("h_emptyname", "GET", b"HTTP/1.1 200 OK\r\n: 1\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("h_nul", "GET", b"HTTP/1.1 200 OK\r\nX-A: a\x00\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("h_ctl", "GET", b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("h_high", "GET", b"HTTP/1.1 200 OK\r\nX-A: \xff\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_under", "GET", b"HTTP/1.1 200 OK\r\nX_A: 1\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_cr", "GET", b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_host", "GET", b"HTTP/1.1 200 OK\r\nHost: x\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_pseudo", "GET", b"HTTP/1.1 200 OK\r\n:status: 201\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("h_conn_nom", "GET", b"HTTP/1.1 200 OK\r\nConnection: x-a\r\nX-A: 1\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_conn_close", "GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", false)),
    Row("h_conn_ka", "GET", b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_pc_close", "GET", b"HTTP/1.1 200 OK\r\nProxy-Connection: close\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", false)),
    Row("h_upgrade", "GET", b"HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: foo\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_upgrade2", "GET", b"HTTP/1.1 200 OK\r\nUpgrade: foo\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_te_hdr", "GET", b"HTTP/1.1 200 OK\r\nTE: trailers\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_trailer", "GET", b"HTTP/1.1 200 OK\r\nTrailer: x\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_xfwd", "GET", b"HTTP/1.1 200 OK\r\nX-Forwarded-For: x\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_99", "GET", b"HTTP/1.1 200 OK\r\nx0: 1\r\nx1: 1\r\nx2: 1\r\nx3: 1\r\nx4: 1\r\nx5: 1\r\nx6: 1\r\nx7: 1\r\nx8: 1\r\nx9: 1\r\nx10: 1\r\nx11: 1\r\nx12: 1\r\nx13: 1\r\nx14: 1\r\nx15: 1\r\nx16: 1\r\nx17: 1\r\nx18: 1\r\nx19: 1\r\nx20: 1\r\nx21: 1\r\nx22: 1\r\nx23: 1\r\nx24: 1\r\nx25: 1\r\nx26: 1\r\nx27: 1\r\nx28: 1\r\nx29: 1\r\nx30: 1\r\nx31: 1\r\nx32: 1\r\nx33: 1\r\nx34: 1\r\nx35: 1\r\nx36: 1\r\nx37: 1\r\nx38: 1\r\nx39: 1\r\nx40: 1\r\nx41: 1\r\nx42: 1\r\nx43: 1\r\nx44: 1\r\nx45: 1\r\nx46: 1\r\nx47: 1\r\nx48: 1\r\nx49: 1\r\nx50: 1\r\nx51: 1\r\nx52: 1\r\nx53: 1\r\nx54: 1\r\nx55: 1\r\nx56: 1\r\nx57: 1\r\nx58: 1\r\nx59: 1\r\nx60: 1\r\nx61: 1\r\nx62: 1\r\nx63: 1\r\nx64: 1\r\nx65: 1\r\nx66: 1\r\nx67: 1\r\nx68: 1\r\nx69: 1\r\nx70: 1\r\nx71: 1\r\nx72: 1\r\nx73: 1\r\nx74: 1\r\nx75: 1\r\nx76: 1\r\nx77: 1\r\nx78: 1\r\nx79: 1\r\nx80: 1\r\nx81: 1\r\nx82: 1\r\nx83: 1\r\nx84: 1\r\nx85: 1\r\nx86: 1\r\nx87: 1\r\nx88: 1\r\nx89: 1\r\nx90: 1\r\nx91: 1\r\nx92: 1\r\nx93: 1\r\nx94: 1\r\nx95: 1\r\nx96: 1\r\nx97: 1\r\nx98: 1\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("h_100", "GET", b"HTTP/1.1 200 OK\r\nx0: 1\r\nx1: 1\r\nx2: 1\r\nx3: 1\r\nx4: 1\r\nx5: 1\r\nx6: 1\r\nx7: 1\r\nx8: 1\r\nx9: 1\r\nx10: 1\r\nx11: 1\r\nx12: 1\r\nx13: 1\r\nx14: 1\r\nx15: 1\r\nx16: 1\r\nx17: 1\r\nx18: 1\r\nx19: 1\r\nx20: 1\r\nx21: 1\r\nx22: 1\r\nx23: 1\r\nx24: 1\r\nx25: 1\r\nx26: 1\r\nx27: 1\r\nx28: 1\r\nx29: 1\r\nx30: 1\r\nx31: 1\r\nx32: 1\r\nx33: 1\r\nx34: 1\r\nx35: 1\r\nx36: 1\r\nx37: 1\r\nx38: 1\r\nx39: 1\r\nx40: 1\r\nx41: 1\r\nx42: 1\r\nx43: 1\r\nx44: 1\r\nx45: 1\r\nx46: 1\r\nx47: 1\r\nx48: 1\r\nx49: 1\r\nx50: 1\r\nx51: 1\r\nx52: 1\r\nx53: 1\r\nx54: 1\r\nx55: 1\r\nx56: 1\r\nx57: 1\r\nx58: 1\r\nx59: 1\r\nx60: 1\r\nx61: 1\r\nx62: 1\r\nx63: 1\r\nx64: 1\r\nx65: 1\r\nx66: 1\r\nx67: 1\r\nx68: 1\r\nx69: 1\r\nx70: 1\r\nx71: 1\r\nx72: 1\r\nx73: 1\r\nx74: 1\r\nx75: 1\r\nx76: 1\r\nx77: 1\r\nx78: 1\r\nx79: 1\r\nx80: 1\r\nx81: 1\r\nx82: 1\r\nx83: 1\r\nx84: 1\r\nx85: 1\r\nx86: 1\r\nx87: 1\r\nx88: 1\r\nx89: 1\r\nx90: 1\r\nx91: 1\r\nx92: 1\r\nx93: 1\r\nx94: 1\r\nx95: 1\r\nx96: 1\r\nx97: 1\r\nx98: 1\r\nx99: 1\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("b_empty", "GET", b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nok", false, Bad),
    Row("b_dup", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("b_dupdiff", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", false, Bad),
    Row("b_list", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", false, Bad),
    Row("b_plus", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok", false, Bad),
    Row("b_over", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\nok", false, Bad),
    Row("b_lead0", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 002\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("b_te_cl", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n", false, Bad),
    Row("b_gzip", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok", false, Bad),
    Row("b_gzch", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false, Bad),
    Row("b_chch", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false, Bad),
    Row("b_identity", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok", false, Bad),
    Row("b_emptyte", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding:\r\n\r\nok", false, Bad),
    Row("b_Chunked", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n", false, Good(200, b"ok", true)),
    Row("b_chunkbad", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokX\r\n0\r\n\r\n", false, Good(200, b"ok", true)),
    Row("b_chunklf", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", false, Bad),
    Row("b_trailers", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n", false, Good(200, b"ok", true)),
    Row("b_excess", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokEXTRA", false, Good(200, b"ok", false)),
    Row("b_excess_resp", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", false, Good(200, b"ok", false)),
    Row("b_chunk_excess", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nXX", false, Good(200, b"", false)),
    Row("b_crlf_after", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\r\n", false, Good(200, b"ok", false)),
    Row("b_close", "GET", b"HTTP/1.1 200 OK\r\n\r\nall", true, Good(200, b"all", false)),
    Row("b_close_ka", "GET", b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\n\r\nall", true, Good(200, b"all", false)),
    Row("b_close_gz", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nall", true, Bad),
    Row("b_10te", "GET", b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", false, Good(200, b"ok", false)),
    Row("b_10cl_ka", "GET", b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("s204", "GET", b"HTTP/1.1 204 No Content\r\n\r\n", false, Good(204, b"", true)),
    Row("s204_cl0", "GET", b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", false, Good(204, b"", true)),
    Row("s204_cl5", "GET", b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nabcde", false, Bad),
    Row("s204_te", "GET", b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false, Bad),
    Row("s204_body", "GET", b"HTTP/1.1 204 No Content\r\n\r\nabc", false, Good(204, b"", false)),
    Row("s304", "GET", b"HTTP/1.1 304 Not Modified\r\n\r\n", false, Good(304, b"", true)),
    Row("s304_cl", "GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", false, Good(304, b"", true)),
    Row("s304_te", "GET", b"HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", false, Good(304, b"", true)),
    Row("s304_te0", "GET", b"HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false, Good(304, b"", false)),
    Row("s304_body", "GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nabcde", false, Good(304, b"", false)),
    Row("s205", "GET", b"HTTP/1.1 205 Reset\r\n\r\n", true, Good(205, b"", false)),
    Row("i100", "GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("i102", "GET", b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("i103", "GET", b"HTTP/1.1 103 E\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("i199", "GET", b"HTTP/1.1 199 E\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("i100cl", "GET", b"HTTP/1.1 100 Continue\r\ncontent-length: 5\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("i100te", "GET", b"HTTP/1.1 100 Continue\r\ntransfer-encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("i100cl0", "GET", b"HTTP/1.1 103 E\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("i101", "GET", b"HTTP/1.1 101 S\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(101, b"", false)),
    Row("i100close", "GET", b"HTTP/1.1 100 Continue\r\nconnection: close\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"ok", true)),
    Row("eof_head", "GET", b"HTTP/1.1 200 OK\r\nx: ", true, Bad),
    Row("eof_body", "GET", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", true, Bad),
    Row("eof_chunk", "GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", true, Bad),
    Row("eof_0", "GET", b"", true, Bad),
    Row("sse", "GET", b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nab", true, Good(200, b"ab", false)),
    Row("HEAD s204", "HEAD", b"HTTP/1.1 204 No Content\r\n\r\n", false, Good(204, b"", true)),
    Row("HEAD h_high", "HEAD", b"HTTP/1.1 200 OK\r\nX-A: \xff\r\ncontent-length: 2\r\n\r\nok", false, Good(200, b"", false)),
    Row("HEAD b_close", "HEAD", b"HTTP/1.1 200 OK\r\n\r\nall", true, Good(200, b"", false)),
    Row("HEAD b_Chunked", "HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n", false, Good(200, b"", false)),
    Row("HEAD s304_cl", "HEAD", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", false, Good(304, b"", true)),
    Row("HEAD b_dup", "HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", false, Bad),
    Row("HEAD b_excess", "HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokEXTRA", false, Good(200, b"", false)),
    Row("HEAD s205", "HEAD", b"HTTP/1.1 205 Reset\r\n\r\n", true, Good(205, b"", false)),];
