//! `VirtualHost.matcher`: a tree whose actions are routes and lists of routes.

use super::{HostScope, list, single};
use crate::route::list::RouteList;
use crate::route::specifier::unknown;
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::matcher::tree::Vocabulary;
use nuncio_core::matcher::{HttpInput, NetworkInput};
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_proto::pb::envoy::config::route::v3 as pb;
use prost::Name;
use prost_types::Any;

/// The inputs and actions of virtual hosts.
pub(super) struct Words<'a, 's> {
    pub scope: &'a HostScope<'s>,
}

impl Vocabulary for Words<'_, '_> {
    type Input = HttpInput;
    type Action = RouteList;

    fn input(&self, any: &Any, cx: &CompileContext<'_>) -> Option<HttpInput> {
        match HttpInput::compile(any, cx)? {
            Some(
                input @ (HttpInput::RequestHeader(_) | HttpInput::Network(NetworkInput::FilterState(..))),
            ) => Some(input),
            _ => {
                cx.error(format!(
                    "requirement violation while creating route match tree: INVALID_ARGUMENT: Route table can only \
                     match on request headers, saw {}",
                    any.type_url
                ));
                None
            }
        }
    }

    fn action(&self, name: &str, any: &Any, cx: &CompileContext<'_>) -> Option<RouteList> {
        let kind = type_name(&any.type_url);
        if kind == pb::Route::full_name() {
            return single(cx.unpack(any)?, cx, self.scope);
        }
        if kind == pb::RouteList::full_name() {
            let pb::RouteList { routes } = cx.unpack(any)?;
            let messages = routes.into_iter().map(|route| move |_: &CompileContext<'_>| Some(route));
            return list(messages.enumerate(), cx, self.scope);
        }
        unknown(name, any, cx);
        None
    }

    fn runtime(&self) -> Option<&Runtime> {
        Some(self.scope.scope.options.runtime)
    }

    fn stats(&self) -> Option<&Registry> {
        Some(self.scope.scope.options.stats)
    }
}
