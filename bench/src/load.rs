//! The load generator: keep-alive HTTP/1 connections, one request at a time on each, an exact number of requests.
//!
//! Closed loop: every connection sends its next request when the answer is there. Open loop (`--rate`): requests
//! are due at fixed times, and latency counts from the due time, whether or not a connection was free.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::option;
use crate::response::{response_end, status};

const TIMER: Token = Token(usize::MAX - 1);
/// A run that makes no progress for so long has failed.
const STALLED: Duration = Duration::from_secs(20);

/// What to send and how.
pub(crate) struct Plan {
    port: u16,
    connections: usize,
    requests: usize,
    /// Requests per second; 0 for the closed loop.
    rate: u64,
    request: Vec<u8>,
}

impl Plan {
    /// `--connections 64 --requests 10000 --rate 0 --path / --host bench.example`
    pub(crate) fn from_args(port: u16, args: &[String]) -> Plan {
        let path = option(args, "--path", "/".to_owned());
        let host = option(args, "--host", "bench.example".to_owned());
        Plan {
            port,
            connections: option(args, "--connections", 64),
            requests: option(args, "--requests", 10_000),
            rate: option(args, "--rate", 0),
            request: format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n"
            )
            .into_bytes(),
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// When the request that it waits for was due; None while it is free.
    due: Option<Instant>,
    received: Vec<u8>,
}

struct Run<'a> {
    plan: &'a Plan,
    connections: Vec<Connection>,
    free: VecDeque<usize>,
    /// Due times of requests that found no free connection.
    waiting: VecDeque<Instant>,
    started: usize,
    done: usize,
    errors: usize,
    latencies: Vec<u64>,
    buffer: Vec<u8>,
}

/// Runs the plan and prints one line of JSON: counts, seconds, requests per second, latencies in microseconds.
pub(crate) fn run(plan: &Plan) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut run = Run::connect(plan, &poll)?;
    let begin = Instant::now();
    let timer = if plan.rate > 0 { Some(interval_timer(plan.rate)?) } else { None };
    if let Some(timer) = &timer {
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
    } else {
        run.start_as_many_as_free(Instant::now());
    }
    let mut events = Events::with_capacity(1024);
    while run.done + run.errors < plan.requests {
        poll.poll(&mut events, Some(STALLED))?;
        if events.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer for 20 s"));
        }
        for event in &events {
            if event.token() == TIMER {
                if let Some(timer) = &timer {
                    let _ = rustix::io::read(timer, &mut [0; 8]);
                }
            } else {
                run.readable(event.token().0)?;
            }
        }
        if plan.rate > 0 {
            run.start_due(begin);
        } else {
            run.start_as_many_as_free(Instant::now());
        }
    }
    run.report(begin.elapsed());
    Ok(())
}

/// Fires often enough that a request starts within a fraction of the interval after it is due.
fn interval_timer(rate: u64) -> io::Result<std::os::fd::OwnedFd> {
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let every =
        Timespec { tv_sec: 0, tv_nsec: i64::try_from(1_000_000_000 / rate.max(2)).unwrap_or(1_000_000) };
    rustix::time::timerfd_settime(
        &timer,
        TimerfdTimerFlags::empty(),
        &Itimerspec { it_interval: every, it_value: every },
    )?;
    Ok(timer)
}

impl<'a> Run<'a> {
    fn connect(plan: &'a Plan, poll: &Poll) -> io::Result<Run<'a>> {
        let mut connections = Vec::new();
        for i in 0..plan.connections {
            let stream = std::net::TcpStream::connect(("127.0.0.1", plan.port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(i), Interest::READABLE)?;
            connections.push(Connection { stream, due: None, received: Vec::new() });
        }
        Ok(Run {
            plan,
            free: (0..plan.connections).collect(),
            connections,
            waiting: VecDeque::new(),
            started: 0,
            done: 0,
            errors: 0,
            latencies: Vec::with_capacity(plan.requests),
            buffer: vec![0; 64 * 1024],
        })
    }

    fn start_as_many_as_free(&mut self, now: Instant) {
        while self.started < self.plan.requests
            && let Some(i) = self.free.pop_front()
        {
            self.started += 1;
            self.send(i, now);
        }
    }

    fn start_due(&mut self, begin: Instant) {
        let interval = 1_000_000_000 / self.plan.rate.max(1);
        let now = Instant::now();
        while self.started < self.plan.requests {
            let due = begin + Duration::from_nanos(interval * self.started as u64);
            if due > now {
                break;
            }
            self.started += 1;
            self.waiting.push_back(due);
        }
        while let Some(i) = self.free.front().copied()
            && let Some(due) = self.waiting.pop_front()
        {
            self.free.pop_front();
            self.send(i, due);
        }
    }

    fn send(&mut self, i: usize, due: Instant) {
        let Some(connection) = self.connections.get_mut(i) else { return };
        connection.due = Some(due);
        if connection.stream.write_all(&self.plan.request).is_err() {
            self.errors += 1;
        }
    }

    fn readable(&mut self, i: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(i) else { return Ok(()) };
        loop {
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the proxy closed a connection",
                    ));
                }
                Ok(n) => {
                    connection.received.extend_from_slice(self.buffer.get(..n).unwrap_or_default());
                    if n < self.buffer.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        if response_end(&connection.received).is_some()
            && let Some(due) = connection.due.take()
        {
            self.latencies.push(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
            if status(&connection.received) == 200 {
                self.done += 1
            } else {
                self.errors += 1
            }
            connection.received.clear();
            self.free.push_back(i);
        }
        Ok(())
    }

    fn report(&mut self, took: Duration) {
        self.latencies.sort_unstable();
        let at = |permille: usize| {
            let i = (self.latencies.len() * permille / 1000).min(self.latencies.len().saturating_sub(1));
            self.latencies.get(i).copied().unwrap_or(0) as f64 / 1000.0
        };
        let seconds = took.as_secs_f64();
        println!(
            "{{\"requests\": {}, \"errors\": {}, \"seconds\": {seconds:.4}, \"rps\": {:.0}, \"p50_us\": {:.1}, \"p90_us\": {:.1}, \"p99_us\": {:.1}, \"p999_us\": {:.1}}}",
            self.done,
            self.errors,
            self.done as f64 / seconds,
            at(500),
            at(900),
            at(990),
            at(999),
        );
    }
}
