//! Our client against our server, with everything by chance.

use super::*;
use std::collections::BTreeMap;

struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Moves a piece of what one side has to send to the other.
fn carry(rng: &mut Rng, from: &mut Codec, pipe: &mut Vec<u8>) {
    from.fill();
    let n = from.unsent().len();
    let n = if n > 0 { 1 + rng.below(n) } else { 0 };
    pipe.extend_from_slice(&from.unsent()[..n]);
    from.sent(n);
}

/// Sends a body, of which the socket takes any part at once.
fn send(rng: &mut Rng, codec: &mut Codec, key: StreamKey, body: &[u8], end_stream: bool, pipe: &mut Vec<u8>) {
    codec.send_data(key, body, end_stream, |pieces| {
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        let n = [0, rng.below(all.len() + 1), all.len()][rng.below(3)];
        pipe.extend_from_slice(&all[..n]);
        n
    });
}

#[derive(Default)]
struct Peer {
    bodies: BTreeMap<u32, (Vec<u8>, bool)>,
    open: Vec<StreamKey>,
}

fn take(codec: &mut Codec, options: &Options, pipe: &mut Vec<u8>, peer: &mut Peer) {
    let (mut request, mut response, mut trailers) =
        (RequestHead::new(), ResponseHead::default(), HeaderMap::new());
    loop {
        let into = match codec.side {
            Side::Server => Incoming::Request(&mut request),
            Side::Client => Incoming::Response(&mut response),
        };
        let Decoded { consumed, event, .. } =
            codec.decode(now(), options, pipe, into, &mut trailers).unwrap();
        let more = event == Event::More;
        match event {
            Event::Head { stream, end_stream } => {
                if codec.side == Side::Server {
                    peer.open.push(stream);
                }
                peer.bodies.entry(stream.id()).or_default().1 = end_stream;
            }
            Event::Data { stream, at, end_stream } => {
                let body = peer.bodies.entry(stream.id()).or_default();
                body.0.extend_from_slice(&pipe[at.clone()]);
                body.1 |= end_stream;
                codec.consumed(stream, at.len());
            }
            Event::Trailers { stream } => {
                assert_eq!(trailers.get("x-sum"), Some(&b"1"[..]));
                peer.bodies.entry(stream.id()).or_default().1 = true;
            }
            Event::More | Event::Settings => {}
            other => panic!("{other:?}"),
        }
        pipe.drain(..consumed);
        if more {
            return;
        }
    }
}

#[test]
fn whatever_is_sent_through_small_windows_arrives_whole_and_leaves_nothing_behind() {
    for seed in 1..25 {
        let mut rng = Rng(seed * 0x9e37_79b9);
        let options = Options {
            initial_stream_window: [1, 100, 70_000, 200_000][rng.below(4)],
            initial_connection_window: [65_535, 300_000][rng.below(2)],
            max_concurrent_streams: 4,
            flood: FloodLimits { window_updates_per_data_frame: 1000, ..FloodLimits::default() },
            ..Options::default()
        };
        let (mut client, mut server) =
            (Codec::new(Side::Client, &options, now()), Codec::new(Side::Server, &options, now()));
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let (mut at_server, mut at_client) = (Peer::default(), Peer::default());
        let size = [60, 40_000, 150_000][options.initial_stream_window.ilog(100) as usize];
        let (mut sent, mut keys) = (BTreeMap::new(), Vec::new());
        for turn in 0..20_000 {
            if client.openable() > 0 && keys.len() < 12 && !client.awaits_settings() {
                let body: Vec<u8> = (0..rng.below(size)).map(|i| (i * 7) as u8).collect();
                let key = client.open(now(), &request(POST), false).unwrap();
                send(&mut rng, &mut client, key, &body, true, &mut up);
                sent.insert(key.id(), body);
                keys.push(key);
            }
            carry(&mut rng, &mut client, &mut up);
            take(&mut server, &options, &mut up, &mut at_server);
            let done = |key: &StreamKey| at_server.bodies.get(&key.id()).is_some_and(|b| b.1);
            if let Some(at) = at_server.open.iter().position(done) {
                let key = at_server.open.remove(at);
                server.encode_response(key, &ResponseHead::new(200), false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.append("x-sum", b"1");
                send(&mut rng, &mut server, key, &at_server.bodies[&key.id()].0, false, &mut down);
                server.encode_trailers(key, &trailers);
                server.finish(key, None);
            }
            carry(&mut rng, &mut server, &mut down);
            take(&mut client, &options, &mut down, &mut at_client);
            keys.iter()
                .filter(|k| at_client.bodies.get(&k.id()).is_some_and(|b| b.1))
                .for_each(|k| client.finish(*k, None));
            if keys.len() == 12 && at_client.bodies.len() == 12 && client.held_streams() == 0 {
                break;
            }
            assert!(turn < 19_999, "seed {seed}: {} open", client.open_streams());
        }
        for (id, body) in &sent {
            assert!(at_client.bodies[id].0 == *body, "seed {seed}, stream {id}");
        }
        assert_eq!((server.held_streams(), server.waiting_bytes(), client.waiting_bytes()), (0, 0, 0));
    }
}
