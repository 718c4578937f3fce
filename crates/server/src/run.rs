//! A server's life: load, bind, start workers, answer the admin port, end in order.

use crate::admin::{Action, Admin, ListenerFacts, State};
use crate::bootstrap::AdminConfig;
use crate::cli::{Mode, Options};
use crate::config::{self, Compiled, Refused, Source};
use crate::critical;
use crate::http;
use crate::log;
use crate::signal::{Signal, Signals};
use crate::stats::ProcessStats;
use nuncio_core::clock::Clock;
use nuncio_core::lifecycle::Lifecycle;
use nuncio_core::rng::Rng;
use nuncio_core::stats::Registry;
use nuncio_net::listen::{BindError, ListenSpec, Listener, bind};
use nuncio_net::worker::{Worker, block_on_local};
use nuncio_upstream::manager::ClusterSet;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

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
pub fn serve(options: &Options, sources: &[Source], live: impl FnOnce(&Admin)) -> ExitCode {
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

async fn run(options: &Options, sources: &[Source], live: impl FnOnce(&Admin)) -> Result<(), StartError> {
    let clock = Clock::system();
    let started = clock.now();
    let mut signals = Signals::new().map_err(|e| StartError::Io("listen to signals", e))?;
    write_file(&options.base_id_path, &options.base_id.to_string());
    let compiled = config::load(options, sources, clock.wall()).map_err(StartError::Refused)?;
    let Compiled { bootstrap, clusters, dump } = compiled;

    let registry = Registry::new();
    let clusters = Rc::new(RefCell::new(ClusterSet::new(&clusters, &registry)));
    let stats = ProcessStats::new(&registry, options.concurrency(), dump.clusters.len() as u64);
    let (actions, mut asked) = unbounded_channel();
    let admin = Rc::new(Admin {
        log: log::installed(),
        clock: clock.clone(),
        started,
        options: Rc::new(options.clone()),
        node: bootstrap.node.json(true),
        node_bytes: bootstrap.node.completion(),
        dump,
        listeners: Vec::<ListenerFacts>::new(),
        clusters: Rc::clone(&clusters),
        runtime: bootstrap.runtime.clone(),
        registry: registry.clone(),
        history: RefCell::default(),
        default_tags: bootstrap.default_tags,
        connections: Box::new(|| 0),
        stats: Some(stats),
        lifecycle: Lifecycle::new(),
        progress: Rc::new(Cell::new(State::Initializing)),
        actions,
    });
    let worker = Worker::new(options.concurrency(), clock.clone(), Rng::from_os());
    if let Some(config) = &bootstrap.admin {
        open_admin(config, &admin, &worker, options)?;
    }
    admin.progress.set(State::Live);
    if let Some(stats) = &admin.stats {
        // Envoy counts a load of its defaults and one of the layers.
        stats.count_runtime(&admin.runtime);
        stats.count_runtime(&admin.runtime);
        let took = clock.now().duration_since(started);
        stats.server.initialization_time_ms.record(took.as_millis() as u64);
    }
    tracing::info!(target: "main", "starting main dispatch loop");
    live(&admin);
    if options.mode != Mode::InitOnly {
        let flushes = flush_for_ever(&admin, bootstrap.stats_flush_interval);
        tokio::select! {
            () = until_end(&mut signals, &mut asked) => {}
            () = flushes => {}
        }
    }
    tracing::info!(target: "main", "shutting down server instance");
    Ok(())
}

/// Ends an interval of the histograms as often as configured.
async fn flush_for_ever(admin: &Admin, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        admin.history.borrow_mut().flush(&admin.registry);
    }
}

/// Serves signals and actions until one of them asks for the end.
async fn until_end(signals: &mut Signals, asked: &mut UnboundedReceiver<Action>) {
    loop {
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
        };
        match action {
            Action::Quit => return,
            Action::ReopenLogs => reopen_logs(),
            Action::Drain { .. } => {}
        }
    }
}

fn reopen_logs() {
    if let Some(Err(error)) = log::installed().map(log::Log::reopen) {
        tracing::error!(target: "main", "cannot reopen the log: {error}");
    }
}

/// Binds the admin port and answers it from now on.
fn open_admin(
    config: &AdminConfig,
    admin: &Rc<Admin>,
    worker: &Rc<Worker>,
    options: &Options,
) -> Result<(), StartError> {
    let mut spec = ListenSpec::new(config.address.clone());
    spec.reuse_port = false;
    let Some(socket) = bind(&spec, 1).map_err(StartError::Bind)?.pop() else { return Ok(()) };
    tracing::info!(target: "admin", "admin address: {}", socket.address());
    write_file(&options.admin_address_path, &socket.address().to_string());
    let listener = Listener::new(socket).map_err(|e| StartError::Io("open the admin port", e))?;
    let admin = Rc::clone(admin);
    let answer = Rc::new(move |asked: &http::Asked| admin.reply(asked));
    worker.spawn(http::serve(listener, Rc::clone(worker), answer));
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
