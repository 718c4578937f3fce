//! `envoy.tracers.opentelemetry.samplers`: which of the requests that were chosen are exported.

use nuncio_core::config::{CompileContext, Fraction, fraction, type_name};
use nuncio_proto::pb::envoy::config::core::v3::TypedExtensionConfig;
use nuncio_proto::pb::envoy::extensions::tracers::opentelemetry::samplers::v3::{
    AlwaysOnSamplerConfig, ParentBasedSamplerConfig, TraceIdRatioBasedSamplerConfig,
};
use prost::Name as _;

/// A compiled sampler.
#[derive(Debug)]
pub(super) enum Sampler {
    /// All.
    AlwaysOn,
    /// As the caller did; requests without a caller as another sampler says.
    ParentBased(Box<Sampler>),
    /// By the trace's identifier, so that all hops agree.
    Ratio(Fraction),
}

impl Sampler {
    pub(super) fn compile(message: TypedExtensionConfig, cx: &CompileContext<'_>) -> Option<Self> {
        let TypedExtensionConfig { name, typed_config } = message;
        let any = typed_config.unwrap_or_default();
        let (kind, cx) = (type_name(&any.type_url), cx.field("typed_config"));
        if kind == AlwaysOnSamplerConfig::full_name() {
            let AlwaysOnSamplerConfig {} = cx.unpack(&any)?;
            return Some(Self::AlwaysOn);
        }
        if kind == ParentBasedSamplerConfig::full_name() {
            let ParentBasedSamplerConfig { wrapped_sampler } = cx.unpack(&any)?;
            let inner = Self::compile(wrapped_sampler.unwrap_or_default(), &cx.field("wrapped_sampler"))?;
            return Some(Self::ParentBased(Box::new(inner)));
        }
        if kind == TraceIdRatioBasedSamplerConfig::full_name() {
            let TraceIdRatioBasedSamplerConfig { sampling_percentage } = cx.unpack(&any)?;
            return Some(Self::Ratio(fraction(&sampling_percentage.unwrap_or_default())));
        }
        cx.unsupported(format!("the sampler {kind} is not built (for '{name}')"));
        None
    }

    /// Whether a request is exported whose caller, if it has one, did so or did not.
    pub(super) fn samples(&self, parent: Option<bool>, trace: u128) -> bool {
        match self {
            Self::AlwaysOn => true,
            Self::ParentBased(inner) => parent.unwrap_or_else(|| inner.samples(None, trace)),
            // The first eight bytes, as a number of the machine.
            Self::Ratio(fraction) => fraction.hit(((trace >> 64) as u64).swap_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_depends_on_the_trace_alone_and_a_caller_counts_before_it() {
        let ratio = || Sampler::Ratio(Fraction::new(30, 100));
        // Recorded of Envoy: 0x80 first is 128, so 28 of 100; 0x20 is 32.
        let (in_it, out_of_it) = (0x80 << 120, 0x20 << 120);
        assert!(ratio().samples(Some(false), in_it));
        assert!(!ratio().samples(Some(true), out_of_it));
        let by_parent = Sampler::ParentBased(Box::new(ratio()));
        assert!(by_parent.samples(Some(true), out_of_it));
        assert!(!by_parent.samples(Some(false), in_it));
        assert!(by_parent.samples(None, in_it));
        assert!(Sampler::AlwaysOn.samples(Some(false), 0));
    }
}
