//! Response flags: why a stream ended as it did, in Envoy's letters.

/// Declares the flags from one table: number, letters and long name cannot disagree.
macro_rules! response_flags {
    ($($long:ident = $short:literal,)*) => {
        /// A response flag; its number is Envoy's legacy bit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ResponseFlag {
            $(#[doc = concat!("`", $short, "`")] $long,)*
        }

        impl ResponseFlag {
            /// Every flag, by number.
            pub const ALL: &'static [ResponseFlag] = &[$(ResponseFlag::$long,)*];

            /// The letters of `%RESPONSE_FLAGS%`.
            pub const fn short(self) -> &'static str {
                match self { $(Self::$long => $short,)* }
            }

            /// The name of `%RESPONSE_FLAGS_LONG%`.
            pub const fn long(self) -> &'static str {
                match self { $(Self::$long => stringify!($long),)* }
            }
        }
    };
}

response_flags! {
    FailedLocalHealthCheck = "LH",
    NoHealthyUpstream = "UH",
    UpstreamRequestTimeout = "UT",
    LocalReset = "LR",
    UpstreamRemoteReset = "UR",
    UpstreamConnectionFailure = "UF",
    UpstreamConnectionTermination = "UC",
    UpstreamOverflow = "UO",
    NoRouteFound = "NR",
    DelayInjected = "DI",
    FaultInjected = "FI",
    RateLimited = "RL",
    UnauthorizedExternalService = "UAEX",
    RateLimitServiceError = "RLSE",
    DownstreamConnectionTermination = "DC",
    UpstreamRetryLimitExceeded = "URX",
    StreamIdleTimeout = "SI",
    InvalidEnvoyRequestHeaders = "IH",
    DownstreamProtocolError = "DPE",
    UpstreamMaxStreamDurationReached = "UMSDR",
    ResponseFromCacheFilter = "RFCF",
    NoFilterConfigFound = "NFCF",
    DurationTimeout = "DT",
    UpstreamProtocolError = "UPE",
    NoClusterFound = "NC",
    OverloadManagerTerminated = "OM",
    DnsResolutionFailed = "DF",
    DropOverload = "DO",
    DownstreamRemoteReset = "DR",
    UnconditionalDropOverload = "UDO",
}

/// The flags of one stream, in the order in which they were set; each at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags {
    /// Flag numbers plus one, the first set in the lowest byte; a stream never sets more than eight.
    order: u64,
    set: u32,
}

impl ResponseFlags {
    /// Sets a flag; a second time changes nothing.
    pub fn set(&mut self, flag: ResponseFlag) {
        if self.contains(flag) {
            return;
        }
        let at = self.set.count_ones();
        self.set |= 1 << (flag as u8);
        if at < 8 {
            self.order |= (u64::from(flag as u8) + 1) << (8 * at);
        }
    }

    /// Whether a flag is set.
    #[inline]
    pub fn contains(self, flag: ResponseFlag) -> bool {
        self.set & (1 << (flag as u8)) != 0
    }

    /// Whether none is set.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.set == 0
    }

    /// Envoy's legacy bit mask.
    pub fn bits(self) -> u32 {
        self.set
    }

    /// The flags in the order in which they were set.
    pub fn iter(self) -> impl Iterator<Item = ResponseFlag> {
        self.order
            .to_le_bytes()
            .into_iter()
            .take_while(|&n| n != 0)
            .filter_map(|n| ResponseFlag::ALL.get(usize::from(n) - 1).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_keep_their_order_and_are_set_once() {
        let mut flags = ResponseFlags::default();
        flags.set(ResponseFlag::UpstreamRetryLimitExceeded);
        flags.set(ResponseFlag::UpstreamConnectionFailure);
        flags.set(ResponseFlag::UpstreamRetryLimitExceeded);
        assert_eq!(flags.iter().map(ResponseFlag::short).collect::<Vec<_>>(), ["URX", "UF"]);
        assert_eq!(flags.bits(), 1 << 15 | 1 << 5);
    }
}
