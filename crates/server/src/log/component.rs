//! The components that log, by Envoy's names.

/// Envoy's logger names, in the order in which `/logging` prints them. Tools set levels by them, so that the
/// names of what is not built are here too.
const COMPONENTS: [&str; 73] = [
    "a2a",
    "admin",
    "ai_protocol_manager",
    "alternate_protocols_cache",
    "aws",
    "assert",
    "backtrace",
    "basic_auth",
    "cache_filter",
    "client",
    "config",
    "connection",
    "conn_handler",
    "compression",
    "credential_injector",
    "decompression",
    "dns",
    "dubbo",
    "envoy_bug",
    "ext_authz",
    "ext_proc",
    "rocketmq",
    "file",
    "filter",
    "forward_proxy",
    "geolocation",
    "grpc",
    "happy_eyeballs",
    "hc",
    "health_checker",
    "http",
    "http2",
    "hystrix",
    "init",
    "io",
    "jwt",
    "json_rpc",
    "kafka",
    "key_value_store",
    "lua",
    "local_rate_limit",
    "main",
    "matcher",
    "mcp",
    "misc",
    "mongo",
    "multi_connection",
    "notification",
    "oauth2",
    "quic",
    "quic_stream",
    "pool",
    "rate_limit_quota",
    "rbac",
    "rds",
    "redis",
    "router",
    "runtime",
    "stats",
    "secret",
    "sse",
    "tap",
    "testing",
    "thrift",
    "tracing",
    "upstream",
    "udp",
    "wasm",
    "websocket",
    "golang",
    "stats_sinks",
    "dynamic_modules",
    "ip_tagging",
];

/// Where events of unknown targets go.
pub(super) const MISC: usize = 44;

/// All names, in the order of `/logging`.
pub fn components() -> &'static [&'static str] {
    &COMPONENTS
}

/// The name itself, if there is such a component.
pub fn component(name: &str) -> Option<&'static str> {
    COMPONENTS.iter().find(|c| **c == name).copied()
}

/// The place of an event's target among the components.
pub(super) fn index(target: &str) -> usize {
    COMPONENTS.iter().position(|c| *c == target).unwrap_or(MISC)
}
