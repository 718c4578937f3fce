//! A request's head read as a connection would read it, and what its chain of filters is, for explanations.

use super::Hcm;
use super::config::CodecType;
use super::conn::begins_http2;
use super::h2::take_connect;
use crate::explain::FilterFact;
use crate::route::Route;
use crate::why;
use nuncio_codec::h1::{self, ServerCodec};
use nuncio_codec::h2::{Codec, Event, Incoming, Side};
use nuncio_codec::head::{HeaderMap, RequestHead, Version};
use nuncio_core::stream_info::ConnectionInfo;
use std::rc::Rc;
use std::sync::Arc;

impl Hcm {
    /// The head at the beginning of a connection's bytes, and its protocol.
    ///
    /// # Errors
    /// Why there is none. What the configuration has to do with it is told.
    pub(crate) fn read_head(
        &self,
        connection: &ConnectionInfo,
        bytes: &[u8],
    ) -> Result<(RequestHead, Version), String> {
        let http2 = match self.config.codec_type {
            CodecType::Http1 => false,
            CodecType::Http2 => true,
            CodecType::Auto => begins_http2(bytes).unwrap_or(false),
        };
        if http2 { self.read_http2(connection, bytes) } else { self.read_http1(connection, bytes) }
    }

    fn read_http1(
        &self,
        connection: &ConnectionInfo,
        bytes: &[u8],
    ) -> Result<(RequestHead, Version), String> {
        let (mut head, mut trailers) = (RequestHead::new(), HeaderMap::new());
        match ServerCodec::new().decode(&self.config.h1, bytes, &mut head, &mut trailers) {
            Ok(decoded) if matches!(decoded.event, h1::Event::Head { .. }) => {
                let version = head.version;
                Ok((head, version))
            }
            Ok(_) => Err("the request is incomplete".into()),
            Err(error) => {
                why::bad_head(self, connection, bytes, error);
                Err(format!("the HTTP/1 codec answers {} ({})", error.status(), error.details()))
            }
        }
    }

    fn read_http2(
        &self,
        connection: &ConnectionInfo,
        bytes: &[u8],
    ) -> Result<(RequestHead, Version), String> {
        let now = self.world.worker.now();
        let mut codec = Codec::new(Side::Server, &self.config.h2, now);
        let (mut head, mut trailers) = (RequestHead::new(), HeaderMap::new());
        let mut rest = bytes;
        loop {
            let into = Incoming::Request(&mut head);
            let decoded = codec.decode(now, &self.config.h2, rest, into, &mut trailers).map_err(|error| {
                why::broken_http2(self, connection, error, bytes);
                format!("the HTTP/2 codec closes the connection ({error})")
            })?;
            rest = rest.get(decoded.consumed..).unwrap_or_default();
            match decoded.event {
                Event::Head { .. } => {
                    take_connect(&mut head);
                    return Ok((head, Version::Http2));
                }
                Event::Refused { error, .. } | Event::Failed { error: Some(error), .. } => {
                    why::refused_head(self, connection, error);
                    return Err(format!("the HTTP/2 codec resets the stream ({})", error.details()));
                }
                Event::More => return Err("the request is incomplete".into()),
                _ => {}
            }
        }
    }

    /// The filters of a chain, and what part they have in a stream of this route; those of these names were left out, for they wait.
    pub(crate) fn filter_facts(
        &self,
        chain: Option<usize>,
        route: Option<&Arc<Route>>,
        waiting: &[Arc<str>],
    ) -> Vec<FilterFact> {
        let whole = Self::new(Arc::clone(&self.config), &self.world, Rc::clone(&self.draining));
        let table = &self.routing().table;
        let standings = chain.and_then(|id| whole.chain(id)).map(|chain| chain.standings(route, table));
        let facts = standings.into_iter().flatten().map(|standing| {
            let waits = waiting.contains(&standing.name);
            FilterFact::new(standing, waits)
        });
        facts.collect()
    }

    /// The name of the filter with this number among those that a stream of this route has.
    pub(crate) fn name_of_filter(
        &self,
        chain: Option<usize>,
        route: Option<&Arc<Route>>,
        at: usize,
    ) -> Option<Arc<str>> {
        let standings = self.chain(chain?)?.standings(route, &self.routing().table);
        standings.into_iter().filter(|standing| standing.made).nth(at).map(|standing| standing.name)
    }
}
