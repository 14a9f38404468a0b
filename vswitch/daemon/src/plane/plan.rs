//! What the workers act on: compiled switches, and where each port's frames go. Immutable; a change is a new plan.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;
use weft_core::{Counters, PortId, Switch};
use weft_ports::Transmit;

use crate::overlay::Snoop;

/// The switches and ports of one moment.
#[derive(Default)]
pub(crate) struct Plan {
    switches: Vec<Arc<Switch>>,
    ports: Vec<Option<PlannedPort>>,
}

/// A port as the workers see it.
#[derive(Clone)]
pub(crate) struct PlannedPort {
    /// Index of its switch.
    pub(crate) switch: usize,
    /// Where its frames go; `None` while it has no device or peer.
    pub(crate) egress: Option<Arc<Egress>>,
    /// What is counted on it.
    pub(crate) counters: Arc<PortCounters>,
    /// What the overlay wants to see of its frames.
    pub(crate) snoop: Option<Arc<Snoop>>,
}

impl Plan {
    /// Puts a plan together.
    pub(crate) fn new(
        switches: Vec<Arc<Switch>>,
        ports: impl IntoIterator<Item = (PortId, PlannedPort)>,
    ) -> Self {
        let mut table: Vec<Option<PlannedPort>> = Vec::new();
        for (id, port) in ports {
            if table.len() <= id.index() {
                table.resize_with(id.index() + 1, || None);
            }
            table[id.index()] = Some(port);
        }
        Self { switches, ports: table }
    }

    /// Returns a port and its switch.
    pub(crate) fn port(&self, id: PortId) -> Option<(&PlannedPort, &Switch)> {
        let port = self.ports.get(id.index())?.as_ref()?;
        Some((port, self.switches.get(port.switch)?))
    }
}

/// The sending side of a port: its queues, each behind the lock that a worker takes once per burst.
pub(crate) struct Egress {
    queues: Box<[Mutex<Box<dyn Transmit>>]>,
}

impl Egress {
    pub(crate) fn new(queues: Vec<Box<dyn Transmit>>) -> Self {
        Self { queues: queues.into_iter().map(Mutex::new).collect() }
    }

    /// Locks the queue that a worker sends to: always the same one, so that the order of its frames is kept.
    pub(crate) fn lock(&self, worker: usize) -> MutexGuard<'_, Box<dyn Transmit>> {
        self.lock_queue(worker % self.queues.len())
    }

    /// Locks the queue at a position.
    pub(crate) fn lock_queue(&self, queue: usize) -> MutexGuard<'_, Box<dyn Transmit>> {
        self.queues[queue].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many queues there are; never 0.
    pub(crate) fn queues(&self) -> usize {
        self.queues.len()
    }
}

/// What was counted on a port, a block for each worker.
pub(crate) struct PortCounters {
    workers: Box<[CachePadded<Counters>]>,
}

impl PortCounters {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| CachePadded::default()).collect() }
    }

    /// Returns the block that a worker alone writes.
    pub(crate) fn of_worker(&self, worker: usize) -> &Counters {
        &self.workers[worker]
    }

    /// Returns all blocks, to be added up.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Counters> {
        self.workers.iter().map(|block| &**block)
    }
}
