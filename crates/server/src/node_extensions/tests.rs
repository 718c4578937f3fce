use super::*;

#[test]
fn extensions_have_envoys_names_and_categories() {
    let rows = [
        ("envoy.extensions.filters.http.router.v3.Router", "envoy.filters.http", "envoy.filters.http.router"),
        (
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "envoy.filters.network",
            "envoy.filters.network.http_connection_manager",
        ),
        (
            "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "envoy.access_loggers",
            "envoy.access_loggers.file",
        ),
        (
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "envoy.access_loggers",
            "envoy.access_loggers.stdout",
        ),
        ("envoy.config.trace.v3.ZipkinConfig", "envoy.tracers", "envoy.tracers.zipkin"),
        (
            "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig",
            "envoy.http.original_ip_detection",
            "envoy.http.original_ip_detection.xff",
        ),
    ];
    for (message, category, name) in rows {
        let got = Extension::of(message);
        assert_eq!((got.category.as_str(), got.name.as_str()), (category, name));
    }
}
