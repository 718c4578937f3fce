//! The vocabulary that everybody above the codec speaks: statistics, stream information, addresses, time
//! and chance. A module enters when two crates speak it.

pub mod access_log;
pub mod address;
pub mod cel;
pub mod civil;
pub mod clock;
pub mod config;
pub mod format;
pub mod hash;
pub mod hash_policy;
pub mod header;
pub mod header_key_format;
pub mod lifecycle;
pub mod matcher;
pub mod number;
pub mod overload;
pub mod registry;
pub mod rng;
pub mod runtime;
pub mod source;
pub mod stats;
pub mod stream_info;
pub mod trace;
pub mod why;
pub mod xx_hash;

#[cfg(test)]
mod testing;
