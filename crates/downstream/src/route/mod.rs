//! Route configurations, compiled: from a request's head to the route that serves it.

mod affix;
mod domains;
mod index;
mod per_filter;
mod redirect;
mod rewrite;
mod template;
mod trie;
