//! How many workers to run when nobody says.

/// The smallest of the machine's hardware threads, the process's CPU affinity and its cgroup quota (rounded
/// down), at least 1.
pub(super) fn default_concurrency() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}
