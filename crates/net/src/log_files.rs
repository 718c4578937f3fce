//! Log files: every worker appends to a buffer of its own, and one thread of the process writes them out.

use nuncio_core::config::CompileContext;
use nuncio_core::stats::{Registry, Scope};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

nuncio_core::stats_block! {
    /// What one thread counts of its log lines, below `filesystem.`; the one that writes has a block too.
    struct FileStats {
        counter flushed_by_timer,
        counter reopen_failed,
        counter write_buffered,
        counter write_completed,
        counter write_failed,
        gauge write_total_buffered,
    }
}

/// When buffers are written out.
#[derive(Clone, Copy, Debug)]
pub struct FlushOptions {
    /// At the latest after this time (`--file-flush-interval-msec`).
    pub interval: Duration,
    /// As soon as a buffer has this many bytes (`--file-flush-min-size-kb`).
    pub min_bytes: usize,
}

impl Default for FlushOptions {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), min_bytes: 64 << 10 }
    }
}

/// Lines that a worker may hold for one file; above it they are dropped and counted as `write_failed`, so that a
/// disk or a pipe that stands still costs lines, not the process.
const MAX_BUFFERED: usize = 16 << 20;

/// All log files of the process, each opened once. Dropping it writes out what is left.
pub struct LogFiles {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    options: FlushOptions,
    files: Mutex<BTreeMap<Target, Arc<LogFile>>>,
    signal: Arc<Signal>,
    append_stats: Arc<[Scope<FileStats>]>,
    /// Held by whoever writes files out, so that one thread at a time counts.
    write_stats: Mutex<Scope<FileStats>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Path(String),
    Stdout,
    Stderr,
}

/// How the writing thread is woken.
#[derive(Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: bool,
    stop: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Signal {
    fn raise(&self, stop: bool) {
        let mut state = locked(&self.state);
        state.wanted = true;
        state.stop |= stop;
        self.changed.notify_one();
    }
}

/// One open file.
pub struct LogFile {
    target: Target,
    out: Mutex<Output>,
    buffers: Box<[Mutex<Vec<u8>>]>,
    reopen: AtomicBool,
    min_bytes: usize,
    signal: Arc<Signal>,
    stats: Arc<[Scope<FileStats>]>,
}

struct Output {
    file: File,
    /// Swapped with a worker's buffer, so that neither is allocated twice.
    spare: Vec<u8>,
}

impl std::fmt::Debug for LogFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LogFile").field(&self.target).finish()
    }
}

impl LogFiles {
    /// No files yet. `workers` is how many threads append; the main thread is one more.
    pub fn new(registry: &Registry, workers: usize, options: FlushOptions) -> Self {
        let shared = Shared {
            options,
            files: Mutex::default(),
            signal: Arc::default(),
            append_stats: (0..=workers).map(|_| registry.scope("filesystem.")).collect(),
            write_stats: Mutex::new(registry.scope("filesystem.")),
        };
        Self { shared: Arc::new(shared), writer: Mutex::default() }
    }

    /// The file at `path`, for appending; it is made if it is not there. The device names of the process's own
    /// outputs mean those, so that their lines and the process's log do not overwrite each other in a file, and
    /// that a socket can stand behind them.
    pub fn open(&self, path: &str) -> io::Result<Arc<LogFile>> {
        match path {
            "/dev/stdout" => self.stdout(),
            "/dev/stderr" => self.stderr(),
            _ => self.get(Target::Path(path.to_owned())),
        }
    }

    /// As [`open`](Self::open), for the field of `cx`, which is told where that fails.
    pub fn open_for(&self, path: &str, cx: &CompileContext<'_>) -> Option<Arc<LogFile>> {
        opened(self.open(path), path, cx)
    }

    /// The process's standard output.
    pub fn stdout(&self) -> io::Result<Arc<LogFile>> {
        self.get(Target::Stdout)
    }

    /// The process's standard error.
    pub fn stderr(&self) -> io::Result<Arc<LogFile>> {
        self.get(Target::Stderr)
    }

    fn get(&self, target: Target) -> io::Result<Arc<LogFile>> {
        let mut files = locked(&self.shared.files);
        if let Some(file) = files.get(&target) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(LogFile {
            out: Mutex::new(Output { file: target.open()?, spare: Vec::new() }),
            target: target.clone(),
            buffers: self.shared.append_stats.iter().map(|_| Mutex::default()).collect(),
            reopen: AtomicBool::new(false),
            min_bytes: self.shared.options.min_bytes,
            signal: Arc::clone(&self.shared.signal),
            stats: Arc::clone(&self.shared.append_stats),
        });
        files.insert(target, Arc::clone(&file));
        drop(files);
        self.start_writer()?;
        Ok(file)
    }

    fn start_writer(&self) -> io::Result<()> {
        let mut writer = locked(&self.writer);
        if writer.is_none() {
            let shared = Arc::clone(&self.shared);
            *writer =
                Some(std::thread::Builder::new().name("log writer".to_owned()).spawn(move || shared.run())?);
        }
        Ok(())
    }

    /// Opens every file anew before the next line is written to it (SIGUSR1, `/reopen_logs`), and writes soon.
    pub fn reopen(&self) {
        locked(&self.shared.files).values().for_each(|file| file.reopen.store(true, Relaxed));
        self.shared.signal.raise(false);
    }

    /// Writes out everything that was appended before.
    pub fn flush(&self) {
        self.shared.write_out();
    }
}

/// A file that the field of `cx` asked for by `name`; where there is none, the context is told.
pub fn opened(file: io::Result<Arc<LogFile>>, name: &str, cx: &CompileContext<'_>) -> Option<Arc<LogFile>> {
    file.map_err(|error| cx.error(format!("unable to open file '{name}': {error}"))).ok()
}

impl Drop for LogFiles {
    fn drop(&mut self) {
        self.shared.signal.raise(true);
        if let Some(writer) = locked(&self.writer).take() {
            // A writer that panicked has nothing more to say.
            let _ = writer.join();
        }
        self.shared.write_out();
    }
}

impl Target {
    fn open(&self) -> io::Result<File> {
        Ok(match self {
            Self::Path(path) => OpenOptions::new().append(true).create(true).open(path)?,
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned()?.into(),
            Self::Stderr => io::stderr().as_fd().try_clone_to_owned()?.into(),
        })
    }
}

impl LogFile {
    /// Appends what `write` adds to the buffer of worker number `worker`; a number beyond the last one is the
    /// main thread's. The lock is contended only while the buffer is being taken away.
    #[inline]
    pub fn append(&self, worker: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let at = worker.min(self.buffers.len() - 1);
        let (Some(buffer), Some(stats)) = (self.buffers.get(at), self.stats.get(at)) else { return };
        let mut buffer = locked(buffer);
        let before = buffer.len();
        if before > MAX_BUFFERED {
            stats.write_failed.inc();
            return;
        }
        write(&mut buffer);
        stats.write_buffered.inc();
        stats.write_total_buffered.add((buffer.len() - before) as u64);
        let full = before < self.min_bytes && buffer.len() >= self.min_bytes;
        drop(buffer);
        if full {
            self.signal.raise(false);
        }
    }

    fn write_out(&self, stats: &FileStats) {
        let mut out = locked(&self.out);
        if self.reopen.swap(false, Relaxed) && matches!(self.target, Target::Path(_)) {
            match self.target.open() {
                Ok(file) => out.file = file,
                // The old file stays; the next reopen tries again.
                Err(_) => stats.reopen_failed.inc(),
            }
        }
        let Output { file, spare } = &mut *out;
        for buffer in &self.buffers {
            std::mem::swap(&mut *locked(buffer), spare);
            if spare.is_empty() {
                continue;
            }
            match file.write_all(spare) {
                Ok(()) => stats.write_completed.inc(),
                Err(_) => stats.write_failed.inc(),
            }
            stats.write_total_buffered.sub(spare.len() as u64);
            spare.clear();
        }
    }
}

impl Shared {
    /// The writing thread.
    fn run(&self) {
        loop {
            let state = locked(&self.signal.state);
            let waiting = self.signal.changed.wait_timeout_while(state, self.options.interval, |s| !s.wanted);
            let (mut state, outcome) = waiting.unwrap_or_else(PoisonError::into_inner);
            let stop = state.stop;
            state.wanted = false;
            drop(state);
            if outcome.timed_out() {
                let files = locked(&self.files).len() as u64;
                locked(&self.write_stats).flushed_by_timer.add(files);
            }
            self.write_out();
            if stop {
                return;
            }
        }
    }

    fn write_out(&self) {
        let files: Vec<_> = locked(&self.files).values().cloned().collect();
        let stats = locked(&self.write_stats);
        files.iter().for_each(|file| file.write_out(&stats));
    }
}

#[cfg(test)]
mod tests;
