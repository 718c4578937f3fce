//! Explanations of what failed: what is known of it here becomes a line of [`nuncio_core::why`]. Everything in here is
//! cold.

mod connection;
mod route;
mod tls;
mod upstream;

pub(crate) use connection::{bad_head, broken_http2, metadata_not_passed_on, metadata_refused, refused_head};
pub(crate) use route::{
    body_too_large, cluster_not_found, dropped, late_head, maintenance, no_cluster_for_tcp, no_route,
    path_refused, timed_out, upgrade_not_allowed,
};
pub(crate) use tls::{handshake, no_filter_chain};
pub(crate) use upstream::{Fault, Metadata, metadata_of_cluster, of_stream, refused_upgrade, upstream};

use crate::hcm::stream::Stream;
use crate::route::{Position, Route, Routes};
use nuncio_codec::head::Known;
use nuncio_core::why::{Note, Spot, Subject, Why, tell};
use std::hash::Hash;
use std::sync::Arc;

/// Explains what happened to a stream.
fn tell_of<D>(stream: &Stream<D>, why: Why, about: impl Hash, note: impl FnOnce() -> Note) {
    tell(why, about, stream.hcm.world.worker.now(), subject(stream), note);
}

/// A stream, as lines name it.
pub(crate) fn subject<D>(stream: &Stream<D>) -> Subject<'_> {
    Subject::Stream(&stream.info, stream.heads.request.headers.get(Known::XRequestId))
}

/// Where the path of a stream's route table begins: in the connection manager, or in the resource that RDS gave.
fn path_of_table<D>(stream: &Stream<D>) -> String {
    let config = &stream.hcm.config;
    match &config.routes {
        Routes::Inline(_) => config.places.spot("route_config").path,
        Routes::Scoped(scopes) => {
            let at = scopes.tables().iter().position(|table| Arc::ptr_eq(table, &stream.routing.table));
            let list = config.places.spot("scoped_routes").path;
            at.map_or(list.clone(), |at| {
                format!("{list}.scoped_route_configurations_list.scoped_route_configurations[{at}].route_configuration")
            })
        }
        Routes::Rds(feed) => format!("RouteConfiguration '{}'", feed.name),
    }
}

/// Whether there are scopes, none of which is the stream's.
fn is_out_of_scope<D>(stream: &Stream<D>) -> bool {
    let Routes::Scoped(scopes) = &stream.hcm.config.routes else { return false };
    !scopes.tables().iter().any(|table| Arc::ptr_eq(table, &stream.routing.table))
}

/// A field of a stream's route: below the table, where the route stands in it.
fn spot_of_route<D>(stream: &Stream<D>, route: &Route, field: &str) -> Spot {
    let table = &stream.routing.table;
    let mut path = path_of_table(stream);
    match table.position(route) {
        Some(Position { host, at: Some(at) }) => {
            path.push_str(&format!(".virtual_hosts[{host}].routes[{at}]"))
        }
        Some(Position { host, at: None }) => path.push_str(&format!(".virtual_hosts[{host}].matcher")),
        None => {}
    }
    Spot { path: format!("{path}.{field}"), place: route.place.or(table.place()) }
}

#[cfg(test)]
mod tests;
