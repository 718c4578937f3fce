//! `nuncio explain` and `/explain`: what would become of a request, by the code that serves.

mod curl;
mod json;
mod sections;
mod text;

use crate::admin::{Admin, Request, Response};
use crate::cli::Options;
use crate::config::{self, Compiled, Refused, Source};
use crate::dynamic::{Dynamic, DynamicClusters, DynamicRoutes, DynamicSecrets, Files, Ground};
use crate::overload::OverloadConfig;
use curl::Asked;
use nuncio_core::clock::Clock;
use nuncio_core::lifecycle::Lifecycle;
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_downstream::explain::{Explanation, Question, QuestionError, explain};
use nuncio_downstream::listener::{ListenerConfig, Reachable};
use nuncio_downstream::tracing::LiveTracers;
use nuncio_downstream::world::World;
use nuncio_net::stream::{ByteStream, ConnectError, ConnectOptions};
use nuncio_net::worker::{Worker, block_on_local};
use nuncio_upstream::cluster::ClusterConfig;
use nuncio_upstream::manager::{ClusterManager, ClusterSeat, ClusterSet};
use nuncio_upstream::pool::{ConnectFuture, Connector};
use std::cell::{OnceCell, RefCell};
use std::fmt::Write;
use std::future::pending;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What a question's own arguments or the configuration are at fault: the exit code of clap's mistakes, too.
const MISTAKE: u8 = 1;

/// Routes that are listed as passed over, on the command line and on the admin port.
const ROUTES: usize = 10_000;
const ROUTES_ON_ADMIN: usize = 500;

/// How long the names of a file's DNS clusters may take.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

/// Opens no connection: an explanation ends before.
struct NoConnector;

impl Connector for NoConnector {
    fn connect<'a>(
        &'a self,
        _: &'a nuncio_core::address::Address,
        _: &'a ConnectOptions,
    ) -> ConnectFuture<'a> {
        Box::pin(pending::<Result<Box<dyn ByteStream>, ConnectError>>())
    }
}

/// Clusters that connect to nowhere.
fn clusters_of(worker: &Rc<Worker>, seat: ClusterSeat) -> Rc<ClusterManager> {
    ClusterManager::with_connector(worker, seat, Rc::new(NoConnector))
}

/// Surroundings of one question, in which nothing shows: its stats go with it.
fn surroundings(
    worker: &Rc<Worker>,
    clusters: Rc<ClusterManager>,
    runtime: &Runtime,
    node_cluster: &str,
    lifecycle: Lifecycle,
) -> Rc<World> {
    Rc::new(World {
        worker: Rc::clone(worker),
        clusters,
        lifecycle,
        stats: Registry::new(),
        runtime: runtime.clone(),
        node_cluster: node_cluster.into(),
        listeners: Reachable::default(),
        internal: Rc::default(),
        tracers: LiveTracers::default(),
    })
}

/// `nuncio explain`: prints what would become of the request that `words` are. 0 when it would go to a host or be
/// answered below 400, 2 when it would not, 1 for a mistake.
pub fn main(options: &Options, words: &[String], listener: Option<&str>, as_json: bool) -> ExitCode {
    let explained = curl::parse(words)
        .map_err(|mistake| Refused::whole("", mistake))
        .and_then(|asked| answer(options, asked, listener));
    match explained {
        Ok(told) => {
            let text = if as_json { json::render(&told) } else { text::render(&told) };
            // Whoever closed the pipe has read enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            if text::is_well(&told) { ExitCode::SUCCESS } else { ExitCode::from(2) }
        }
        Err(Refused { name, faults }) => {
            let mut out = String::new();
            for fault in faults {
                let at = if name.is_empty() { String::new() } else { format!("{name}: ") };
                // Writing to a string cannot fail.
                let _ = writeln!(out, "error: {at}{fault}");
            }
            let _ = std::io::stderr().write_all(out.as_bytes());
            ExitCode::from(MISTAKE)
        }
    }
}

/// The answer by a file, whose DNS names are looked up first. Nobody's health is known yet: hosts are taken as if their
/// checks had passed, and none is checked.
fn answer(options: &Options, asked: Asked, listener: Option<&str>) -> Result<Explanation, Refused> {
    let clock = Clock::system();
    let registry = Registry::new();
    let sources = Source::of(options)?;
    let Compiled { bootstrap, mut clusters, listeners, surroundings: known, .. } =
        config::load(options, sources, &registry, clock.wall())?;
    clusters.clusters.iter_mut().filter_map(Arc::get_mut).for_each(ClusterConfig::check_nobody);
    let question = asked.question(listener.map(str::to_owned));
    let files = Files::new(&known, options, &clock, |_| {});
    let runtime = bootstrap.runtime;
    let explained = block_on_local(async {
        let worker = Worker::new(0, clock, Rng::from_os());
        let set = Rc::new(RefCell::new(ClusterSet::new(&clusters, &registry, &runtime)));
        let ground = Ground {
            surroundings: known,
            files,
            clusters: Rc::clone(&set),
            registry: registry.clone(),
            routes: DynamicRoutes::default(),
            book: DynamicClusters::default(),
            secrets: DynamicSecrets::default(),
            checks: false,
        };
        let unread =
            |error: io::Error| Refused::whole("", format!("cannot watch for configuration: {error}"));
        let dynamic = Dynamic::begin(ground, &worker).map_err(unread)?;
        // What is not known by then has no hosts, and the answer says so.
        if let Ok(warmed) = tokio::time::timeout(RESOLVE_WITHIN, dynamic.warm(bootstrap.cds.as_ref())).await {
            warmed.map_err(unread)?;
        }
        dynamic.start().map_err(unread)?;
        let seat = set.borrow_mut().seat();
        let clusters = clusters_of(&worker, seat);
        let world = surroundings(&worker, clusters, &runtime, &bootstrap.node.cluster, Lifecycle::new());
        let told = explain(&listeners, &world, &question, ROUTES);
        let overload = bootstrap.overload.as_ref().map(|config| config.told(None)).unwrap_or_default();
        let told = told.map_err(|error| Refused::whole("", error.to_string()))?;
        Ok(Explanation { overload, ..told })
    });
    match explained {
        Ok(explained) => explained,
        Err(error) => Err(Refused::whole("", format!("cannot make a runtime: {error}"))),
    }
}

/// What explains requests by the live configuration.
pub struct Explainer {
    listeners: Vec<Arc<ListenerConfig>>,
    worker: Rc<Worker>,
    node_cluster: String,
    overload: Option<OverloadConfig>,
    /// Made with the first question.
    clusters: OnceCell<Rc<ClusterManager>>,
}

impl Explainer {
    /// Of these listeners, on the thread of `worker`, under the overload manager of this configuration.
    pub fn new(
        listeners: &[Arc<ListenerConfig>],
        worker: &Rc<Worker>,
        node_cluster: &str,
        overload: Option<OverloadConfig>,
    ) -> Self {
        Self {
            overload,
            listeners: listeners.to_vec(),
            worker: Rc::clone(worker),
            node_cluster: node_cluster.to_owned(),
            clusters: OnceCell::new(),
        }
    }

    fn world(&self, admin: &Admin) -> Rc<World> {
        let clusters = self.clusters.get_or_init(|| {
            let seat = admin.clusters.borrow_mut().seat();
            clusters_of(&self.worker, seat)
        });
        let live = self.overload.as_ref().zip(admin.lifecycle.overload());
        let overload = live.map(|(config, live)| Arc::new(config.rehearsed(live)));
        let lifecycle = Lifecycle::under(overload);
        surroundings(&self.worker, Rc::clone(clusters), &admin.runtime, &self.node_cluster, lifecycle)
    }

    fn explain(&self, admin: &Admin, question: &Question) -> Result<Explanation, QuestionError> {
        let told = explain(&self.listeners, &self.world(admin), question, ROUTES_ON_ADMIN)?;
        let live = admin.lifecycle.overload().map(|live| &**live);
        let overload = self.overload.as_ref().map(|config| config.told(live)).unwrap_or_default();
        Ok(Explanation { overload, ..told })
    }
}

/// `/explain?request=…`: the same by the live configuration. It changes nothing.
pub fn endpoint(admin: &Admin, request: &Request) -> Response {
    let Some(words) = request.non_empty("request") else {
        return Response::error(
            400,
            "usage: /explain?request=CURL-LIKE-WORDS[&listener=NAME][&format=json]\n",
        );
    };
    let Some(explainer) = admin.explainer.get() else {
        return Response::error(503, "the server is not up yet\n");
    };
    let asked = curl::split(words).and_then(|words| curl::parse_inline(&words));
    let listener = request.non_empty("listener").map(str::to_owned);
    let told = asked.and_then(|asked| {
        let question = asked.question(listener);
        explainer.explain(admin, &question).map_err(|error| error.to_string())
    });
    match told {
        Ok(told) if request.get("format") == Some("json") => Response::json(json::render(&told)),
        Ok(told) => Response::text(text::render(&told)),
        Err(mistake) => Response::error(400, format!("{mistake}\n")),
    }
}
