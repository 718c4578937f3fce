//! Stats sinks: whom the main thread tells of the stats at each flush. Workers take no part in it.

mod config;
mod datagram;
mod line;
mod stream;

pub use config::{SinkConfig, SinkEnv};
pub(crate) use line::Told;

use config::Target;
use datagram::Datagrams;
use line::{Named, Style};
use nuncio_core::stats::{StatsConfig, Tagged};
use nuncio_net::worker::Worker;
use nuncio_upstream::manager::{ClusterManager, ClusterSet};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use stream::Stream;

/// The sinks of a process.
#[derive(Default)]
pub struct Sinks {
    all: Vec<Sink>,
    /// The tags of every stat that was told, where a dialect asks for them: finding them takes many patterns.
    tags: HashMap<Box<str>, Tagged>,
}

struct Sink {
    style: Style,
    prefix: String,
    out: Out,
}

enum Out {
    Datagrams(Datagrams),
    Stream(Stream),
}

impl Sinks {
    /// Opens sockets and starts what keeps connections, on the runtime of the main thread.
    ///
    /// # Errors
    /// A socket cannot be made.
    pub fn start(
        configs: Vec<SinkConfig>,
        clusters: &mut ClusterSet,
        worker: &Rc<Worker>,
    ) -> io::Result<Self> {
        let wants_clusters = configs.iter().any(|c| matches!(c.target, Target::Cluster(_)));
        let manager = wants_clusters.then(|| ClusterManager::new(worker, clusters.seat()));
        let mut sinks = Vec::with_capacity(configs.len());
        for SinkConfig { style, prefix, target } in configs {
            let out = match (target, &manager) {
                (Target::Datagrams { to, at_most }, _) => Out::Datagrams(Datagrams::open(&to, at_most)?),
                (Target::Cluster(name), Some(manager)) => Out::Stream(Stream::start(name, manager, worker)),
                (Target::Cluster(_), None) => continue,
            };
            sinks.push(Sink { style, prefix, out });
        }
        Ok(Self { all: sinks, tags: HashMap::new() })
    }

    /// Whether there is anybody to tell.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Tells all of a stat; `config` tells its tags apart where they are not known already.
    pub(crate) fn tell(&mut self, name: &str, tagged: Option<Tagged>, told: Told, config: &StatsConfig) {
        let wanted = self.all.iter().any(|sink| sink.style.has_tags());
        if wanted && !self.tags.contains_key(name) {
            let tagged = tagged.unwrap_or_else(|| config.extract(name));
            self.tags.insert(name.into(), tagged);
        }
        let named = Named::new(name, self.tags.get(name));
        for Sink { style, prefix, out } in &mut self.all {
            named.lines(*style, prefix, told, &mut |line| match out {
                Out::Datagrams(out) => out.line(line),
                Out::Stream(out) => out.line(line),
            });
        }
    }

    /// All has been told: what was gathered goes out.
    pub fn flush(&mut self) {
        for sink in &mut self.all {
            match &mut sink.out {
                Out::Datagrams(out) => out.flush(),
                Out::Stream(out) => out.flush(),
            }
        }
    }
}
