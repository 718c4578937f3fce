//! Route configurations, compiled: from a request's head to the route that serves it.

mod domains;
mod index;
mod trie;
