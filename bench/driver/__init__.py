"""The bench's driver: proxies and their configurations, processes, counters, scenarios, report."""
