//! How much memory the process has, by the kernel's books.

/// Bytes, from `/proc/self/status`; zeros where that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident and private.
    pub allocated: u64,
    /// The data segment.
    pub heap: u64,
    /// Resident.
    pub physical: u64,
}

impl Memory {
    /// Reads it now.
    pub fn read() -> Self {
        std::fs::read_to_string("/proc/self/status").map_or_else(|_| Self::default(), |s| Self::parse(&s))
    }

    fn parse(status: &str) -> Self {
        let bytes = |key: &str| {
            status
                .lines()
                .find_map(|l| l.strip_prefix(key)?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
                .map_or(0, |kib| kib * 1024)
        };
        Self { allocated: bytes("RssAnon:"), heap: bytes("VmData:"), physical: bytes("VmRSS:") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let m = Memory::parse("Name:\tx\nVmRSS:\t    1300 kB\nRssAnon:\t 200 kB\nVmData:\t 3000 kB\n");
        assert_eq!(m, Memory { allocated: 200 * 1024, heap: 3_000 * 1024, physical: 1_300 * 1024 });
        assert!(Memory::read().physical > 0);
    }
}
