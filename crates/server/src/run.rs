//! A server's life: load, bind, start workers, answer the admin port, end in order.

use crate::admin::{Action, Admin, ListenerFacts, State};
use crate::cli::{Mode, Options};
use crate::config::{self, Compiled, Refused, Source, Surroundings};
use crate::critical;
use crate::dynamic::{Dynamic, DynamicClusters, DynamicRoutes, DynamicSecrets, Files, Ground};
use crate::explain::Explainer;
use crate::http::Site;
use crate::log;
use crate::overload::{OverloadCounts, OverloadManager};
use crate::signal::{Signal, Signals};
use crate::sinks::Sinks;
use crate::stats::ProcessStats;
use crate::worker::{Job, Which, Workers};
use nuncio_core::address::Address;
use nuncio_core::clock::Clock;
use nuncio_core::lifecycle::Lifecycle;
use nuncio_core::rng::Rng;
use nuncio_core::stats::Registry;
use nuncio_downstream::hcm::request_id::uuid;
use nuncio_downstream::listener::ListenerConfig;
use nuncio_net::listen::{BindError, BoundSocket, bind};
use nuncio_net::log_files::LogFiles;
use nuncio_net::worker::{Worker, block_on_local};
use nuncio_upstream::manager::ClusterSet;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Sleep;

/// Why a server did not come up.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is wrong.
    Refused(Refused),
    /// An address cannot be had.
    Bind(BindError),
    /// The operating system refused something else.
    Io(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Bind(error) => error.fmt(f),
            Self::Io(what, error) => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Runs a server until it is told to end; calls `live` once it serves.
pub fn serve(options: &Options, sources: Vec<Source>, live: impl FnOnce(&Admin)) -> ExitCode {
    let ended = block_on_local(run(options, sources, live))
        .unwrap_or_else(|error| Err(StartError::Io("make a runtime", error)));
    match ended {
        Ok(()) => {
            tracing::info!(target: "main", "exiting");
            ExitCode::SUCCESS
        }
        Err(StartError::Refused(refused)) => {
            refused.log();
            ExitCode::FAILURE
        }
        Err(error) => {
            critical!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options, sources: Vec<Source>, live: impl FnOnce(&Admin)) -> Result<(), StartError> {
    let clock = Clock::system();
    let started = clock.now();
    let mut signals = Signals::new().map_err(|e| StartError::Io("listen to signals", e))?;
    write_file(&options.base_id_path, &options.base_id.to_string());
    let registry = Registry::new();
    let compiled = config::load(options, sources, &registry, clock.wall()).map_err(StartError::Refused)?;
    let Compiled { bootstrap, clusters, listeners, admin: site, surroundings, log_files, dump } = compiled;
    if let (Some(pattern), Some(log)) = (bootstrap.log_pattern, log::installed()) {
        log.reshape(pattern);
    }
    if bootstrap.defer_stats {
        registry.defer_creation();
    }
    let workers = options.concurrency();
    let stats = ProcessStats::new(&registry, options, clusters.clusters.len() as u64);
    if let Some(version) = bootstrap.version_override {
        stats.server.version.set(version);
    }
    let overload = bootstrap.overload.as_ref().map(|config| Arc::new(config.overload()));
    if let (Some(config), Some(overload)) = (&bootstrap.overload, &overload) {
        let _ = stats.overload_counts.set(OverloadCounts::new(config, overload, &registry));
    }
    let delays = stats.overload.clone();
    let mut set = ClusterSet::new(&clusters, &registry, &bootstrap.runtime);
    let (facts, sockets) = bind_listeners(&listeners, workers as usize)?;
    stats.count_listeners(facts.len() as u64);

    let lifecycle = Lifecycle::under(overload.clone());
    let mut jobs: Vec<Job> = Vec::with_capacity(workers as usize);
    for sockets in sockets {
        jobs.push(Job {
            listeners: listeners.iter().cloned().zip(sockets).collect(),
            clusters: set.seat(),
            stats: registry.clone(),
            lifecycle: lifecycle.clone(),
            runtime: bootstrap.runtime.clone(),
            node_cluster: bootstrap.node.cluster.as_str().into(),
            internal_room: bootstrap.internal_room,
        });
    }
    let node_cluster = bootstrap.node.cluster.clone();
    let (actions, mut asked) = unbounded_channel();
    let threads: Rc<RefCell<Option<Workers>>> = Rc::default();
    let counted = Rc::clone(&threads);
    let admin = Rc::new(Admin {
        log: log::installed(),
        clock: clock.clone(),
        started,
        options: Rc::new(options.clone()),
        node: bootstrap.node.json(true),
        node_bytes: bootstrap.node.completion(),
        allow_paths: bootstrap.admin.map(|a| a.allow_paths).unwrap_or_default(),
        dump,
        tls: surroundings.tls.clone(),
        routes: DynamicRoutes::default(),
        dynamic_clusters: DynamicClusters::default(),
        secrets: DynamicSecrets::default(),
        listeners: facts,
        clusters: Rc::new(RefCell::new(set)),
        runtime: bootstrap.runtime.clone(),
        registry: registry.clone(),
        history: RefCell::default(),
        sinks: RefCell::default(),
        lookups: Cell::default(),
        flush_interval: bootstrap.stats_flush_interval,
        stats_config: bootstrap.stats,
        connections: Box::new(move || counted.borrow().as_ref().map_or(0, Workers::connections)),
        stats: Some(stats),
        lifecycle,
        progress: Rc::new(Cell::new(State::PreInitializing)),
        actions,
        explainer: OnceCell::new(),
    });
    let main = Worker::new(workers, clock.clone(), Rng::from_os());
    if let Some(site) = site {
        open_admin(site, &admin, &main, options)?;
    }
    let ground = Ground {
        files: files(&admin, &surroundings),
        surroundings,
        clusters: Rc::clone(&admin.clusters),
        registry: admin.registry.clone(),
        routes: Rc::clone(&admin.routes),
        book: Rc::clone(&admin.dynamic_clusters),
        secrets: Rc::clone(&admin.secrets),
        checks: true,
    };
    let dynamic = Dynamic::begin(ground, &main).map_err(|e| StartError::Io("watch for secrets", e))?;
    tokio::select! {
        told = dynamic.warm(bootstrap.cds.as_ref()) => told.map_err(|e| StartError::Io("watch for clusters", e))?,
        () = told_to_end(&mut signals) => return Ok(()),
    }
    admin.progress.set(State::Initializing);
    let explainer = Explainer::new(&listeners, &main, &node_cluster, bootstrap.overload.clone());
    let _ = admin.explainer.set(explainer);
    dynamic.start().map_err(|e| StartError::Io("watch for configuration", e))?;
    let sinks = Sinks::start(bootstrap.sinks, &mut admin.clusters.borrow_mut(), &main)
        .map_err(|e| StartError::Io("open a stats sink", e))?;
    admin.sinks.replace(sinks);
    tracing::info!(target: "config", "all dependencies initialized. starting workers");
    *threads.borrow_mut() =
        Some(Workers::start(jobs).await.map_err(|e| StartError::Io("start the workers", e))?);
    admin.progress.set(State::Live);
    if let Some(stats) = &admin.stats {
        // Envoy counts a load of its defaults and one of the layers.
        stats.count_runtime(&admin.runtime);
        stats.count_runtime(&admin.runtime);
        stats.listeners.workers_started.set(1);
        let took = clock.now().duration_since(started);
        stats.server.initialization_time_ms.record(took.as_millis() as u64);
    }
    tracing::info!(target: "main", "starting main dispatch loop");
    live(&admin);
    if options.mode != Mode::InitOnly {
        let server =
            Server { admin: &admin, threads: &threads, log_files: &log_files, listeners: &listeners };
        let manager = match bootstrap.overload.zip(overload) {
            None => None,
            Some((config, overload)) => {
                let started = OverloadManager::start(config, overload, &registry, (&clock, delays));
                Some(started.map_err(|e| StartError::Io("watch a resource", e))?)
            }
        };
        tokio::select! {
            () = server.until_end(&mut signals, &mut asked) => {}
            () = flush_for_ever(&admin) => {}
            () = server.watch_over(manager) => {}
        }
    }
    tracing::info!(target: "main", "shutting down server instance");
    // What was counted since the last flush is told to sinks.
    admin.flush();
    let threads = threads.borrow_mut().take();
    if threads.is_some_and(|workers| !workers.stop()) {
        tracing::error!(target: "main", "a worker had ended by a panic");
    }
    log_files.flush();
    Ok(())
}

/// What reads the files that configuration names.
fn files(admin: &Rc<Admin>, surroundings: &Surroundings) -> Files {
    let counted = Rc::clone(admin);
    Files::new(surroundings, &admin.options, &admin.clock, move |fields| {
        if let Some(stats) = &counted.stats {
            stats.server.dynamic_unknown_fields.add(fields);
        }
    })
}

/// Waits for a signal to end, before there is anything that could be ended.
async fn told_to_end(signals: &mut Signals) {
    loop {
        if let Signal::End(name) = signals.next().await {
            tracing::warn!(target: "main", "caught {name}");
            return;
        }
    }
}

/// Where each listener listens, and each worker's sockets, for each listener one per address.
type Bound = (Vec<ListenerFacts>, Vec<Vec<Vec<BoundSocket>>>);

/// Binds every listener once per worker; the first that cannot be had ends it.
fn bind_listeners(listeners: &[Arc<ListenerConfig>], workers: usize) -> Result<Bound, StartError> {
    let (mut facts, rng) = (Vec::with_capacity(listeners.len()), Rng::from_os());
    let mut per_worker: Vec<Vec<Vec<BoundSocket>>> = (0..workers).map(|_| Vec::new()).collect();
    for listener in listeners {
        per_worker.iter_mut().for_each(|own| own.push(Vec::new()));
        let mut addresses = Vec::with_capacity(listener.listen_specs().len());
        for spec in listener.listen_specs() {
            if !listener.binds || matches!(spec.address, Address::Internal(_)) {
                addresses.push(spec.address.clone());
                continue;
            }
            let sockets = bind(spec, workers).map_err(StartError::Bind)?;
            addresses.extend(sockets.first().map(|s| s.address().clone()));
            for (own, socket) in per_worker.iter_mut().filter_map(|own| own.last_mut()).zip(sockets) {
                own.push(socket);
            }
        }
        let name = match &*listener.name {
            // As in Envoy, what has no name is called by a random one.
            "" => String::from_utf8_lossy(&uuid(rng.next(), rng.next())).into_owned(),
            name => name.to_owned(),
        };
        facts.push(ListenerFacts { name, addresses });
    }
    Ok((facts, per_worker))
}

/// What signals and actions work on.
struct Server<'a> {
    admin: &'a Admin,
    threads: &'a RefCell<Option<Workers>>,
    log_files: &'a LogFiles,
    listeners: &'a [Arc<ListenerConfig>],
}

/// Ends an interval of the histograms as often as configured.
async fn flush_for_ever(admin: &Admin) {
    let Some(every) = admin.flush_interval else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(every);
    // The first tick comes at once: what is flushed then is the state alone.
    ticks.tick().await;
    if let Some(stats) = &admin.stats {
        stats.flush(admin.state());
    }
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        admin.flush();
    }
}

impl Server<'_> {
    /// Serves signals and actions until one of them asks for the end.
    async fn until_end(&self, signals: &mut Signals, asked: &mut UnboundedReceiver<Action>) {
        // Set while a graceful drain runs: when listening stops, and for whom.
        let mut closing: Option<(Pin<Box<Sleep>>, Which)> = None;
        loop {
            let closes = async {
                match &mut closing {
                    Some((at, which)) => {
                        at.await;
                        *which
                    }
                    None => std::future::pending().await,
                }
            };
            let action = tokio::select! {
                signal = signals.next() => match signal {
                    Signal::End(name) => {
                        tracing::warn!(target: "main", "caught {name}");
                        Action::Quit
                    }
                    Signal::ReopenLogs => {
                        tracing::info!(target: "main", "caught SIGUSR1");
                        Action::ReopenLogs
                    }
                },
                Some(action) = asked.recv() => action,
                which = closes => {
                    closing = None;
                    self.stop_listening(which);
                    continue;
                }
            };
            match action {
                Action::Quit => return,
                Action::ReopenLogs => self.reopen_logs(),
                Action::Drain { graceful, skip_exit, inbound_only } => {
                    let which = if inbound_only { Which::Inbound } else { Which::All };
                    let pace = self.admin.options.drain_pace();
                    self.with_workers(|workers| workers.drain(which, pace));
                    if skip_exit {
                        continue;
                    }
                    if graceful {
                        let time = self.admin.options.drain_time();
                        closing = Some((Box::pin(tokio::time::sleep(time)), which));
                    } else {
                        self.stop_listening(which);
                    }
                }
            }
        }
    }

    /// Runs the overload manager, where there is one.
    async fn watch_over(&self, manager: Option<OverloadManager>) {
        match manager {
            Some(manager) => manager.run(|| self.with_workers(Workers::pressed)).await,
            None => std::future::pending().await,
        }
    }

    fn with_workers(&self, tell: impl FnOnce(&Workers)) {
        if let Some(workers) = &*self.threads.borrow() {
            tell(workers);
        }
    }

    fn stop_listening(&self, which: Which) {
        self.with_workers(|workers| workers.stop_listening(which));
        let stopped = self.listeners.iter().filter(|l| which.takes(l)).count() as u64;
        if let Some(stats) = &self.admin.stats {
            stats.listeners.listener_stopped.add(stopped);
        }
    }

    fn reopen_logs(&self) {
        self.log_files.reopen();
        if let Some(Err(error)) = log::installed().map(log::Log::reopen) {
            tracing::error!(target: "main", "cannot reopen the log: {error}");
        }
    }
}

/// Binds the admin port and answers it from now on.
fn open_admin(
    site: Site,
    admin: &Rc<Admin>,
    worker: &Rc<Worker>,
    options: &Options,
) -> Result<(), StartError> {
    let site = site.among(&admin.runtime, &admin.lifecycle);
    let socket = site.bind().map_err(StartError::Bind)?;
    tracing::info!(target: "admin", "admin address: {}", socket.address());
    write_file(&options.admin_address_path, &socket.address().to_string());
    let (admin, own) = (Rc::clone(admin), Rc::clone(worker));
    worker.spawn(async move {
        let registry = admin.registry.clone();
        if let Err(error) = site.serve(socket, own, &registry, admin).await {
            critical!("the admin port cannot accept: {error}");
        }
    });
    Ok(())
}

/// Writes what an operator's flag asked for; an empty path asks for nothing.
fn write_file(path: &str, text: &str) {
    if path.is_empty() {
        return;
    }
    if let Err(error) = std::fs::write(path, text) {
        critical!("cannot open '{path}' for writing: {error}");
    }
}
