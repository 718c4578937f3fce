//! The counters of calls: each is there once it has counted, below `cluster.NAME.grpc.` or a method's name below that.

use nuncio_core::stats::{Registry, Scope};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use crate::http::frame::{Lone, LoneTime};

/// The statuses that gRPC has.
const STATUSES: usize = 17;

/// What one worker counts, by cluster and method.
#[derive(Default)]
pub(super) struct Book(RefCell<HashMap<Box<str>, OfCluster>>);

/// The counters of a cluster by method.
type OfCluster = HashMap<Box<str>, Rc<Counts>>;

impl Book {
    /// The counters of a method for a cluster; `prefix` makes, for the first time, what their names begin with.
    pub(super) fn counts(
        &self,
        registry: &Registry,
        cluster: &str,
        method: &str,
        prefix: impl FnOnce() -> String,
    ) -> Rc<Counts> {
        let mut book = self.0.borrow_mut();
        if let Some(counts) = book.get(cluster).and_then(|of_cluster| of_cluster.get(method)) {
            return Rc::clone(counts);
        }
        let counts = Rc::new(Counts::new(registry.clone(), prefix()));
        book.entry(cluster.into()).or_default().insert(method.into(), Rc::clone(&counts));
        counts
    }
}

/// The counters of a method, or of all calls that have none of their own.
pub(super) struct Counts {
    registry: Registry,
    prefix: String,
    asked: Late,
    answered: Late,
    success: Late,
    failure: Late,
    total: Late,
    statuses: [Late; STATUSES],
    /// Of statuses that gRPC does not have.
    others: RefCell<HashMap<Box<[u8]>, Scope<Lone>>>,
    took: OnceCell<Scope<LoneTime>>,
}

/// A counter that is made with its first use.
type Late = OnceCell<Scope<Lone>>;

impl Counts {
    fn new(registry: Registry, prefix: String) -> Self {
        Self {
            registry,
            prefix,
            asked: Late::new(),
            answered: Late::new(),
            success: Late::new(),
            failure: Late::new(),
            total: Late::new(),
            statuses: [const { Late::new() }; STATUSES],
            others: RefCell::default(),
            took: OnceCell::new(),
        }
    }

    fn scope(&self, name: &str) -> Scope<Lone> {
        self.registry.scope(&format!("{}{name}", self.prefix))
    }

    fn add(&self, late: &Late, name: &str, n: u64) {
        late.get_or_init(|| self.scope(name)).count.add(n);
    }

    /// So many messages more went up.
    pub(super) fn asked(&self, n: u64) {
        self.add(&self.asked, "request_message_count", n);
    }

    /// So many came down.
    pub(super) fn answered(&self, n: u64) {
        self.add(&self.answered, "response_message_count", n);
    }

    /// A call ended, well or not.
    pub(super) fn ended(&self, well: bool) {
        match well {
            true => self.add(&self.success, "success", 1),
            false => self.add(&self.failure, "failure", 1),
        }
        self.add(&self.total, "total", 1);
    }

    /// A call ended with this `grpc-status`.
    pub(super) fn status(&self, status: &[u8]) {
        let text = String::from_utf8_lossy(status);
        let number = text.parse::<usize>().ok().filter(|n| n.to_string() == text);
        match number.and_then(|n| self.statuses.get(n)) {
            Some(late) => self.add(late, &text, 1),
            None => {
                let mut others = self.others.borrow_mut();
                others.entry(status.into()).or_insert_with(|| self.scope(&text)).count.inc();
            }
        }
        self.ended(text == "0");
    }

    /// How long the upstream took, from the last byte up to the last one down.
    pub(super) fn took(&self, time: Duration) {
        let scope = || self.registry.scope(&format!("{}upstream_rq_time", self.prefix));
        self.took.get_or_init(scope).time.record(time.as_millis() as u64);
    }
}
