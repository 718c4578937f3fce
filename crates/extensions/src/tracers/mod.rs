//! Providers of traces: who takes spans, in which words, and how they are sent.

mod collector;
mod flush;
pub mod opentelemetry;
mod w3c;
pub mod zipkin;
