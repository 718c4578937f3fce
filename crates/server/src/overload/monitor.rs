//! Resources whose pressure is measured (`envoy.config.overload.v3.ResourceMonitor`).

use crate::memory::Memory;
use nuncio_core::config::{CompileContext, type_name};
use nuncio_core::runtime::Runtime;
use nuncio_net::watch::MoveWatch;
use nuncio_proto::pb::envoy::config::core::v3::RuntimeUInt64;
use nuncio_proto::pb::envoy::extensions::resource_monitors::fixed_heap::v3::FixedHeapConfig;
use nuncio_proto::pb::envoy::extensions::resource_monitors::injected_resource::v3::InjectedResourceConfig;
use prost::Name;
use prost_types::Any;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Waker};

/// The name by which the overload manager finds the monitor of downstream connections, which nobody has to ask again
/// and again.
pub const CONNECTIONS: &str = "envoy.resource_monitors.global_downstream_max_connections";

/// A resource, as configured.
#[derive(Clone, Debug)]
pub enum MonitorConfig {
    /// `fixed_heap`
    Heap(HeapLimit),
    /// `injected_resource`: this file holds the pressure.
    Injected(PathBuf),
}

/// How many bytes are full pressure.
#[derive(Clone, Debug)]
pub struct HeapLimit {
    most: u64,
    /// A runtime key that may say otherwise.
    key: Option<(Box<str>, Runtime)>,
}

impl HeapLimit {
    fn pressure(&self, used: u64) -> f64 {
        let most = self.key.as_ref().map_or(self.most, |(key, runtime)| runtime.integer(key, self.most));
        used as f64 / most.max(1) as f64
    }
}

impl MonitorConfig {
    /// Compiles a monitor's message. `None`: refused, with the reason in `cx`.
    pub fn compile(any: &Any, cx: &CompileContext<'_>, runtime: &Runtime) -> Option<Self> {
        let kind = type_name(&any.type_url);
        if kind == FixedHeapConfig::full_name() {
            return heap(cx.unpack(any)?, cx, runtime).map(Self::Heap);
        }
        if kind == InjectedResourceConfig::full_name() {
            let InjectedResourceConfig { filename } = cx.unpack(any)?;
            let path = PathBuf::from(filename);
            if !directory(&path).is_dir() {
                let text = format!("unable to add filesystem watch for file {}", path.display());
                cx.field("filename").error(text);
                return None;
            }
            return Some(Self::Injected(path));
        }
        cx.unsupported(format!("the resource monitor {kind} is not built"));
        None
    }

    /// Starts to watch. Must be called on a runtime.
    ///
    /// # Errors
    /// Where a file's directory cannot be watched.
    pub fn start(&self) -> io::Result<Monitor> {
        Ok(match self {
            Self::Heap(limit) => Monitor::Heap(limit.clone()),
            Self::Injected(path) => {
                let (path, watch) = (path.clone(), MoveWatch::of_file(path)?);
                Monitor::Injected { path, watch, last: None }
            }
        })
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn heap(message: FixedHeapConfig, cx: &CompileContext<'_>, runtime: &Runtime) -> Option<HeapLimit> {
    let FixedHeapConfig { max_heap_size_bytes: fixed, max_heap_size_bytes_runtime } = message;
    let limit = match max_heap_size_bytes_runtime {
        None => HeapLimit { most: fixed, key: None },
        Some(_) if fixed > 0 => {
            let fields = "max_heap_size_bytes or max_heap_size_bytes_runtime";
            cx.error(format!("fixed_heap: exactly one of {fields} must be set"));
            return None;
        }
        Some(RuntimeUInt64 { default_value, runtime_key }) => {
            HeapLimit { most: default_value, key: Some((runtime_key.into(), runtime.clone())) }
        }
    };
    if limit.most == 0 {
        cx.error("fixed_heap: max heap size must be greater than 0");
        return None;
    }
    Some(limit)
}

/// A resource, watched.
pub enum Monitor {
    /// The process's memory.
    Heap(HeapLimit),
    /// A file that is read when another one takes its place.
    Injected {
        /// Where it is.
        path: PathBuf,
        /// Tells when it is replaced.
        watch: MoveWatch,
        /// What was read last.
        last: Option<Result<f64, Unreadable>>,
    },
}

/// There is no pressure to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no pressure could be read")]
pub struct Unreadable;

impl Monitor {
    /// The pressure now: 0 is none, 1 is full.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn measure(&mut self) -> Result<f64, Unreadable> {
        match self {
            Self::Heap(limit) => Ok(limit.pressure(Memory::read().allocated)),
            Self::Injected { path, watch, last } => {
                let mut cx = Context::from_waker(Waker::noop());
                let moved = pin!(watch.moved()).poll(&mut cx).is_ready();
                match *last {
                    Some(last) if !moved => last,
                    _ => *last.insert(read(path)),
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<f64, Unreadable> {
    let text = std::fs::read_to_string(path).map_err(|_| Unreadable)?;
    parse(&text)
}

/// A number from 0 to 1, with blanks around it.
fn parse(text: &str) -> Result<f64, Unreadable> {
    let number: f64 = text.trim().parse().map_err(|_| Unreadable)?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err(Unreadable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pressure_is_a_number_from_zero_to_one() {
        for (text, want) in [
            ("0.25\n", Some(0.25)),
            (" 1", Some(1.0)),
            ("0", Some(0.0)),
            ("1.01", None),
            ("-0.1", None),
            ("nan", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(parse(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn a_heap_is_as_full_as_its_limit_says() {
        let limit = HeapLimit { most: 1000, key: None };
        assert!((limit.pressure(250) - 0.25).abs() < f64::EPSILON && limit.pressure(2000) > 1.0);
    }
}
